package fleet

import (
	"math/rand/v2"
	"slices"
)

// pick chooses the process for a call among those that serve the command and have not had it yet, or returns nil. f.mu is held.
func (f *Fleet) pick(c *call) *member {
	s := f.services[c.letter.envelope.Name]
	if s == nil {
		return nil
	}
	servers := s.servers
	if len(c.tried) > 0 {
		servers = slices.DeleteFunc(slices.Clone(servers), func(m *member) bool { return slices.Contains(c.tried, m) })
	}
	switch {
	case len(servers) == 0:
		return nil
	case c.letter.envelope.Key != "":
		return rendezvous(c.letter.envelope.Key, servers)
	}
	return lessBusy(servers)
}

// lessBusy returns the one of two random servers that has fewer requests of this process's to answer: nearly as even
// as asking all, and unlike the least busy of all not the same for every caller.
func lessBusy(servers []*member) *member {
	i := rand.IntN(len(servers))
	if len(servers) == 1 {
		return servers[i]
	}
	j := rand.IntN(len(servers) - 1)
	if j >= i {
		j++
	}
	if len(servers[j].calls) < len(servers[i].calls) {
		return servers[j]
	}
	return servers[i]
}

// rendezvous returns the server with the highest hash of key and ID: the same wherever it is asked, and when a server
// comes or goes, only keys move that are its own.
func rendezvous(key string, servers []*member) *member {
	var best *member
	var most uint64
	for _, m := range servers {
		if h := hash(key, m.id); best == nil || h > most || h == most && m.id < best.id {
			best, most = m, h
		}
	}
	return best
}

// hash is FNV-1a over both, with a finish that lets every bit count.
func hash(key, id string) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range [...]string{key, "\x00", id} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
