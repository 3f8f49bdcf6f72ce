package fleet

import "time"

// Each process is judged by its own lease, which it tells: one that says less often that it is there is not taken to be
// gone between two beats.

// minLease and maxLease bound Options.Lease, and what others say of theirs.
const (
	minLease = 50 * time.Millisecond
	maxLease = time.Hour
)

// ownLease is the lease of this process as the others are told of it.
func (f *Fleet) ownLease() int64 { return f.opts.Lease.Microseconds() }

// leaseOf reads what a process says of its lease; 0 if it says nothing that can be.
func leaseOf(told int64) time.Duration {
	if told < minLease.Microseconds() || told > maxLease.Microseconds() {
		return 0
	}
	return time.Duration(told) * time.Microsecond
}

// tells notes the lease of a member. Guarded by Fleet.mu.
func (m *member) tells(told int64) {
	if lease := leaseOf(told); lease > 0 {
		m.lease = lease
	}
}
