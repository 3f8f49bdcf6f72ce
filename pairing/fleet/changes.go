package fleet

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

// MemberChange is what has become of a member.
type MemberChange string

const (
	Joined  MemberChange = "joined"  // it is known now, and may have commands and groups that are not known yet
	Changed MemberChange = "changed" // other commands or groups are known of it now
	Left    MemberChange = "left"    // it is leaving, has gone, or was not heard of for its lease
)

// MemberEvent is a change of a member.
type MemberEvent struct {
	Change MemberChange
	Member Member // as it is now; of Left: as it was told of last
}

// AwaitMembers waits until enough returns true for the processes that are known, see [Fleet.Members]: until there are so
// many, say, or until one of them has listeners of a group. It is called at once, and again whenever something has changed, on the
// caller's goroutine.
// Errors: one that wraps ctx.Err(), or why the fleet has ended.
func (f *Fleet) AwaitMembers(ctx context.Context, enough func(members []Member) bool) error {
	for {
		f.mu.Lock()
		news := f.news
		f.mu.Unlock()
		members := f.Members()
		if enough(members) {
			return nil
		}
		select {
		case <-news:
		case <-f.closing:
			return f.ended()
		case <-ctx.Done():
			return fmt.Errorf("fleet %q: %d members, which are not those that are waited for: %w", f.opts.Namespace, len(members), ctx.Err())
		}
	}
}

// toldMember is what Options.OnMember knows of a member.
type toldMember struct {
	member  Member
	shown   *kind
	hash    string
	without int
}

// tellMembers calls OnMember with what is different from what it was told, until the fleet ends.
func (f *Fleet) tellMembers() {
	told := make(map[string]*toldMember)
	for {
		select {
		case <-f.memberNews:
		case <-f.closing:
			return
		}
		for _, e := range f.memberChanges(told) {
			select {
			case <-f.closing:
				return
			default:
			}
			f.tellMember(e)
		}
	}
}

// memberChanges brings told up to date, and returns what that takes: those that have left come first.
func (f *Fleet) memberChanges(told map[string]*toldMember) (events []MemberEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for session, t := range told {
		if m := f.sessions[session]; m == nil || m.draining || m.closing {
			delete(told, session)
			events = append(events, MemberEvent{Left, t.member})
		}
	}
	slices.SortFunc(events, byID)
	var more []MemberEvent
	for session, m := range f.sessions {
		if m.draining || m.closing {
			continue
		}
		now := toldMember{shown: m.shown, without: len(m.without)}
		if m.shown != nil {
			now.hash = m.shown.name
		}
		t, known := told[session]
		if known && t.shown == now.shown && t.hash == now.hash && t.without == now.without {
			continue
		}
		now.member = m.info()
		told[session] = &now
		change := Joined
		if known {
			change = Changed
		}
		more = append(more, MemberEvent{change, now.member})
	}
	slices.SortFunc(more, byID)
	return append(events, more...)
}

func byID(a, b MemberEvent) int {
	return cmp.Or(strings.Compare(a.Member.ID, b.Member.ID), strings.Compare(a.Member.Session, b.Member.Session))
}

func (f *Fleet) tellMember(e MemberEvent) {
	defer func() {
		if v := recover(); v != nil {
			f.log.Error("panic in fleet.Options.OnMember", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	f.opts.OnMember(e)
}
