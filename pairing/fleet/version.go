package fleet

// The wire of fleets has a version. Each process tells which one it speaks, and the oldest that it speaks too; two processes
// fit if there is one that both speak. A new field or kind of notice needs no new version: what a process does not know it
// skips. Whatever the version, hello, beat, ping, pong and bye mean the same, so that those that do not fit see each other.
const (
	wireVersion = 1
	wireOldest  = 1
)

// wireFeatures are what this version can do beyond its number, a bit each. There is none yet.
const wireFeatures = 0

// fits reports whether a process that speaks these versions can be talked to. One that tells none is older than the first.
func fits(wire, oldest int64) bool {
	if oldest <= 0 {
		oldest = wire
	}
	return wire >= wireOldest && oldest <= wireVersion
}

// introduce says in a notice what this process is. f.mu is held.
func (f *Fleet) introduce(l *letter) {
	l.features, l.lease = wireFeatures, f.ownLease()
	l.version, l.hash, l.gaps = f.version, f.mine.hash(), f.gaps
	l.drained = f.draining
}
