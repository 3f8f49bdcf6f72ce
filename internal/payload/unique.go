package payload

import (
	"hash/maphash"
	"maps"
	"math/big"
	"slices"
)

// unique spends what it costs to compare elements: by their hashes, and one by one where those are the same. The library's
// hash takes no notice of where one string ends and the next begins, so that it is easy to make as many of one hash as one likes.
func (e *estimate) unique(v jsonArray) {
	seed := maphash.MakeSeed()
	same := map[uint64]int{}
	for _, element := range v {
		switch s := element.(type) {
		case jsonObject, jsonArray:
		case jsonText:
			e.spend(1 + len(s)/written)
			continue
		default:
			e.spend(1) // Of scalars, no three that differ have one hash.
			continue
		}
		var h maphash.Hash
		h.SetSeed(seed)
		parts := e.hash(&h, element)
		if !e.spend(same[h.Sum64()] * (1 + parts/perMember)) {
			return
		}
		same[h.Sum64()]++
	}
}

// hash takes for the same what the library's hash takes for the same. It returns the number of parts.
func (e *estimate) hash(h *maphash.Hash, v any) int {
	if !e.spend(1) {
		return 0
	}
	parts := 1
	switch v := v.(type) {
	case nil:
		h.WriteByte(0)
	case bool:
		if v {
			h.WriteByte(1)
		} else {
			h.WriteByte(0)
		}
	case jsonText:
		e.spend(len(v) / written)
		h.WriteString(string(v))
	case jsonArray:
		hashUint(h, len(v))
		for _, element := range v {
			parts += e.hash(h, element)
		}
	case jsonObject:
		hashUint(h, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			h.WriteString(name)
			parts += e.hash(h, v[name])
		}
	default:
		r := rational(v)
		hashUint(h, r.Sign()+1)
		h.Write(r.Num().Bytes())
		h.Write(r.Denom().Bytes())
	}
	return parts
}

func hashUint(h *maphash.Hash, n int) {
	for shift := 56; shift >= 0; shift -= 8 {
		h.WriteByte(byte(n >> shift))
	}
}

func rational(number any) *big.Rat {
	r := new(big.Rat)
	switch n := number.(type) {
	case int64:
		r.SetInt64(n)
	case uint64:
		r.SetUint64(n)
	case float64:
		r.SetFloat64(n)
	}
	return r
}
