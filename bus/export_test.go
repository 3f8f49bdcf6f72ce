package bus

import "time"

// SetWall sets the clock that peers are told, before anything is attached.
func (b *Bus) SetWall(now func() time.Time) { b.wall = now }
