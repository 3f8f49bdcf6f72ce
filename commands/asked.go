package commands

// asked is the requests of one peer for the list of commands. A request is
// small and a list may not be, so one list at a time is on its way: requests
// that come meanwhile wait, maxAsked of them, and the rest is dropped. All of it
// is guarded by the peer's mu.
type asked struct {
	busy    bool     // a list is being published
	threads []string // the requests that wait
}

const maxAsked = 16

// asked answers a list.commands.request, now or when the list before it has
// been published.
func (p *peer) asked(thread string) {
	p.mu.Lock()
	a := &p.lists
	switch {
	case p.closed:
		p.mu.Unlock()
		return
	case a.busy && len(a.threads) == maxAsked:
		p.mu.Unlock()
		p.r.stats.unlisted.Add(1)
		return
	case a.busy:
		a.threads = append(a.threads, thread)
		p.mu.Unlock()
		return
	}
	a.busy = true
	p.mu.Unlock()
	l := &listing{thread: thread}
	done := p.list(l)
	go p.answerAsked(l, done)
}

// answerAsked sends what had no room of the first list, and answers those that wait, each when the list before it has been
// published. It ends when none is left, or the link closes.
func (p *peer) answerAsked(l *listing, done bool) {
	for {
		for ; !done; done = p.list(l) {
			if !p.roomAgain() {
				return
			}
		}
		if p.link.Published(p.link.Context()) != nil {
			return
		}
		thread, ok := p.nextAsked()
		if !ok {
			return
		}
		l = &listing{thread: thread}
		done = p.list(l)
	}
}

// nextAsked takes the next of those that wait, or notes that there is none.
func (p *peer) nextAsked() (thread string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := &p.lists
	if p.closed || len(a.threads) == 0 {
		a.busy = false
		return "", false
	}
	thread = a.threads[0]
	a.threads = append(a.threads[:0], a.threads[1:]...)
	return thread, true
}
