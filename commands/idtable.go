package commands

import (
	"hash/maphash"
	"iter"
)

// idTable is items by ID, hashed, in chains that lead through the items themselves: an item takes no memory but its own,
// and its ID is hashed once, outside of any lock. The zero value is an empty table. Its owner guards it.
type idTable[T any] struct {
	heads []*idEntry[T] // length zero, or a power of two
	n     int
}

// idEntry is the place of an item in a table. Items embed it.
type idEntry[T any] struct {
	id   string
	hash uint64
	next *idEntry[T]
	item T
}

// keptHeads bounds the memory that a table keeps when it is empty.
const keptHeads = 1024

var idSeed = maphash.MakeSeed()

// hashID is the hash of an ID, by a secret of the process: IDs may be a peer's.
func hashID(id string) uint64 { return maphash.String(idSeed, id) }

func (t *idTable[T]) len() int { return t.n }

// get returns the entry with that ID and hash, or nil.
func (t *idTable[T]) get(id string, hash uint64) *idEntry[T] {
	if t.n == 0 {
		return nil
	}
	for e := t.heads[hash&uint64(len(t.heads)-1)]; e != nil; e = e.next {
		if e.hash == hash && e.id == id {
			return e
		}
	}
	return nil
}

// add puts an item in, as e, under an ID that the table does not have.
func (t *idTable[T]) add(e *idEntry[T], id string, hash uint64, item T) {
	if t.n >= len(t.heads) {
		t.grow()
	}
	head := &t.heads[hash&uint64(len(t.heads)-1)]
	e.id, e.hash, e.item, e.next = id, hash, item, *head
	*head = e
	t.n++
}

func (t *idTable[T]) grow() {
	old := t.heads
	t.heads = make([]*idEntry[T], max(8, 2*len(old)))
	for _, e := range old {
		for e != nil {
			next, head := e.next, &t.heads[e.hash&uint64(len(t.heads)-1)]
			e.next, *head = *head, e
			e = next
		}
	}
}

// remove takes e out, and reports whether it was in.
func (t *idTable[T]) remove(e *idEntry[T]) bool {
	if t.n == 0 {
		return false
	}
	at := &t.heads[e.hash&uint64(len(t.heads)-1)]
	for *at != e {
		if *at == nil {
			return false
		}
		at = &(*at).next
	}
	*at, e.next = e.next, nil
	if t.n--; t.n == 0 && len(t.heads) > keptHeads {
		t.heads = nil
	}
	return true
}

// all is the items. The table must not be changed meanwhile.
func (t *idTable[T]) all() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, e := range t.heads {
			for ; e != nil; e = e.next {
				if !yield(e.item) {
					return
				}
			}
		}
	}
}
