package bus_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
)

func TestOnlyMessagesOfTheLifeThatIsMetAreTaken(t *testing.T) {
	t.Parallel()
	type outcome string
	const (
		taken  outcome = "taken"
		stale  outcome = "stale"
		ends   outcome = "ends"
		refuse outcome = "rejected"
	)
	ping := bus.Envelope{Type: bus.Ping}
	goodbye := bus.Envelope{Type: bus.Goodbye}
	hello := bus.Envelope{Type: bus.ListRequest}
	for name, tc := range map[string]struct {
		met  bool          // the link has met a session
		age  time.Duration // of the sender's session, relative to that one
		to   string        // "": nobody; "me"; else another
		e    bus.Envelope
		want outcome
	}{
		"met: what it says":                          {true, 0, "me", event("1"), taken},
		"met: its goodbye":                           {true, 0, "me", goodbye, ends},
		"met: its hello, again":                      {true, 0, "", hello, taken},
		"met: what it said to my life before":        {true, 0, "other", event("1"), stale},
		"met: its goodbye to my life before":         {true, 0, "other", goodbye, stale},
		"met: what it said before it knew me":        {true, 0, "", event("1"), stale},
		"met: its goodbye before it knew me":         {true, 0, "", goodbye, stale},
		"older: goodbye":                             {true, -time.Microsecond, "me", goodbye, stale},
		"older: goodbye to nobody":                   {true, -time.Hour, "", goodbye, stale},
		"older: hello, redelivered":                  {true, -time.Second, "", hello, stale},
		"older: event":                               {true, -time.Second, "me", event("1"), stale},
		"newer: hello":                               {true, time.Microsecond, "", hello, ends},
		"newer: anything that knows me":              {true, time.Second, "me", ping, ends},
		"newer: to my life before":                   {true, time.Second, "other", ping, stale},
		"newer: event to nobody":                     {true, time.Second, "", event("1"), stale},
		"nobody met: hello":                          {false, 0, "", hello, taken},
		"nobody met: event to me":                    {false, 0, "me", event("1"), taken},
		"nobody met: event to nobody":                {false, 0, "", event("1"), stale},
		"nobody met: event to my life before":        {false, 0, "other", event("1"), stale},
		"nobody met: goodbye to me":                  {false, 0, "me", goodbye, stale},
		"nobody met: goodbye to my life before":      {false, 0, "other", goodbye, stale},
		"met: hello of a life an hour ahead":         {true, time.Hour, "", hello, stale},
		"met: message of a life 60 years ahead":      {true, 60 * 365 * 24 * time.Hour, "me", ping, stale},
		"no session: event, though a peer was met":   {true, -1, "plain", event("1"), stale},
		"no session: hello, though a peer was met":   {true, -1, "plain", hello, stale},
		"no session: goodbye, though a peer was met": {true, -1, "plain", goodbye, stale},
		"no session: goodbye, where no peer was met": {false, -1, "plain", goodbye, stale},
		"no session: event, where no peer was met":   {false, -1, "plain", event("1"), stale},
		"no session: hello, where no peer was met":   {false, -1, "plain", hello, taken},
		"my own, handed out to me":                   {false, -1, "mirror", hello, stale},
		"a session that is none":                     {true, -1, "garbage", event("1"), refuse},
		"a session that is too long":                 {true, -1, "long", event("1"), refuse},
		"a session of other letters":                 {true, -1, "letters", event("1"), refuse},
		"a time that is none":                        {true, 0, "badtime", hello, refuse},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, tp := presentLink(t, -1, bus.Options{})
				me := tp.take(bus.ListRequest)[0].Metadata["leat-session"]
				born := time.Now()
				if tc.met {
					first := lifeAt(t, l, born, everything)
					first.to = me
					now := strconv.FormatInt(time.Now().UnixMicro(), 10)
					first.say(bus.Envelope{Type: bus.Ping}, "leat-sent", now, "leat-echo", now, "leat-got", now)
				}
				before := l.Stats()
				sender := lifeAt(t, l, born.Add(tc.age), everything)
				extra := []string{}
				switch tc.to {
				case "me":
					sender.to = me
				case "other":
					sender.to = me + "x"
				case "mirror":
					sender.session = me
				case "garbage":
					sender.session = "never"
				case "long":
					sender.session += strings.Repeat("x", 64)
				case "letters":
					sender.session += ".>"
				case "badtime":
					extra = []string{"leat-sent", "-1"}
				}
				if tc.to == "plain" {
					m, err := bus.Binary.Marshal(bus.Envelope{ID: "p", Type: tc.e.Type, Name: tc.e.Name})
					require.NoError(t, err)
					require.NoError(t, l.Deliver(m))
					synctest.Wait()
				} else {
					sender.say(tc.e, extra...)
				}
				s := l.Stats()
				got := taken
				select {
				case <-l.Done():
					got = ends
					require.ErrorIs(t, l.Err(), bus.ErrPeerClosed)
				default:
					switch {
					case s.Stale == before.Stale+1:
						got = stale
					case s.Rejected == before.Rejected+1:
						got = refuse
					}
				}
				assert.Equal(t, tc.want, got)
				assert.Equal(t, got == taken && tc.e.Type == bus.Event, tp.received(bus.Event) == 1, "the layers get what is taken, and only that")
			})
		})
	}
}

func TestAHelloIsAnsweredByNameAndIsForEverybodyItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, tp := presentLink(t, beat, bus.Options{})
		mine := tp.take()
		require.Len(t, mine, 1)
		require.NotContains(t, mine[0].Metadata, "leat-peer")
		old := lifeAt(t, l, time.Now().Add(-time.Second), everything)
		young := lifeAt(t, l, time.Now(), everything)
		for _, f := range []*life{old, young} {
			f.hello()
			answers := tp.take(bus.ListResponse)
			require.Len(t, answers, 1)
			require.Equal(t, f.session, answers[0].Metadata["leat-peer"])
		}
		for range 50 { // a broker hands out what it has kept
			young.hello()
		}
		require.Empty(t, tp.take(bus.ListResponse), "one answer is enough")
		require.EqualValues(t, 50, l.Stats().Stale)
	})
}

func TestWhatIsSentBeforeThePeerIsKnownIsHeldAndKeepsItsOrder(t *testing.T) {
	t.Parallel()
	for name, meet := range map[string]func(*life, *tape){
		"a peer with sessions": func(f *life, tp *tape) { f.meets(tp) },
		"one without": func(f *life, tp *tape) {
			hello := tp.take(bus.ListRequest)
			require.NotEmpty(f.t, hello)
			plainly(f.t, f.link, bus.Envelope{Type: bus.ListResponse, Thread: hello[0].Metadata["leat-id"], Body: []byte("[]")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const bound = 8
				l, tp := presentLink(t, beat, bus.Options{QueueSize: bound, QueueBytes: 4096})
				tp.take()
				for i := range bound {
					require.NoError(t, l.Send(event(strconv.Itoa(i))))
				}
				require.ErrorIs(t, l.Send(event("more")), bus.ErrFull)
				answers := 0
				for ; l.Send(bus.Envelope{Type: bus.ExecuteResponse, Thread: "x"}) == nil; answers++ {
					require.Less(t, answers, 2*4096/256, "answers that the peer does not take are bounded by their bytes")
				}
				require.ErrorIs(t, l.Send(bus.Envelope{Type: bus.ExecuteResponse, Thread: "x"}), bus.ErrFull)
				require.EqualValues(t, 2, l.Stats().NoRoom)
				turn := l.Wait(event(""))
				require.Equal(t, bound+answers, l.Stats().Queued)
				time.Sleep(time.Hour) // nobody comes
				require.Empty(t, tp.take(bus.Event))
				f := lifeAt(t, l, time.Now(), everything)
				f.hello() // is answered, however full it is
				require.Len(t, tp.take(bus.ListResponse), 1)
				require.Empty(t, tp.take(bus.Event), "a hello may be a day old")
				time.Sleep(5 * time.Second)
				meet(f, tp)
				sent := tp.take(bus.Event)
				require.Len(t, sent, bound)
				for i, m := range sent {
					require.Equal(t, strconv.Itoa(i), m.Metadata["leat-id"])
					if f.to != "" {
						require.Equal(t, f.session, m.Metadata["leat-peer"], "addressed")
					}
				}
				<-turn.Ready()
				require.NoError(t, turn.Post(event("after")))
				require.Len(t, tp.take(bus.Event), 1)
			})
		})
	}
}

// plainly delivers a message that names no session.
func plainly(t *testing.T, l *bus.Link, e bus.Envelope) {
	t.Helper()
	if e.ID == "" {
		e.ID = bus.NewID()
	}
	m, err := bus.Binary.Marshal(e)
	require.NoError(t, err)
	require.NoError(t, l.Deliver(m))
	synctest.Wait()
}

// TestRule26NoStrayMessageOpensTheHold: what is held for a peer that is not there yet is not lost to a stray message.
func TestRule26NoStrayMessageOpensTheHold(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]bus.Envelope{
		"ping":          {Type: bus.Ping},
		"event":         event("stray"),
		"flush":         {Type: bus.Flush},
		"reply":         {Type: bus.ExecuteResponse, Thread: "x"},
		"withdrawal":    {Type: bus.Withdraw, Name: "x"},
		"request":       {Type: bus.ExecuteRequest, Name: "x"},
		"hello":         {Type: bus.ListRequest},
		"another list":  {Type: bus.ListResponse, Thread: "x", Body: []byte("[]")},
		"registration":  {Type: bus.RegisterRequest, Body: []byte(`{"id":"x"}`)},
		"group":         {Type: bus.Group, Name: "x", Key: "g", Hops: 1},
		"acknowledging": {Type: bus.RegisterResponse, Thread: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, tp := presentLink(t, beat, bus.Options{})
				require.NoError(t, l.Send(event("held")))
				plainly(t, l, e)
				if e.Type == bus.ListRequest {
					require.NotEmpty(t, tp.take(bus.ListResponse), "a hello is answered, also if it names no session")
				} else {
					require.EqualValues(t, 1, l.Stats().Stale)
				}
				require.Empty(t, tp.take(bus.Event))
				time.Sleep(5 * time.Second)
				lifeAt(t, l, time.Now(), everything).meets(tp)
				require.Len(t, tp.take(bus.Event), 1, "what was held is for the peer that has come")
			})
		})
	}
}

// TestRule26APlainPeerIsTakenUntilOneWithASessionIs: a peer in another language names none.
func TestRule26APlainPeerIsTakenUntilOneWithASessionIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, tp := presentLink(t, beat, bus.Options{})
		plainly(t, l, bus.Envelope{ID: "hi", Type: bus.ListRequest})
		answers := tp.take(bus.ListResponse)
		require.Len(t, answers, 1)
		require.Equal(t, "hi", answers[0].Metadata["leat-thread"])
		plainly(t, l, event("1"))
		require.Equal(t, 1, tp.received(bus.Event), "it may go on at once")
		time.Sleep(5 * time.Second)
		f := lifeAt(t, l, time.Now(), everything)
		f.meets(tp)
		plainly(t, l, event("2"))
		plainly(t, l, bus.Envelope{Type: bus.ExecuteResponse, Thread: "x"})
		require.Equal(t, 1, tp.received(bus.Event))
		require.EqualValues(t, 2, l.Stats().Stale)
	})
}

func TestWhatIsHeldWhenTheLinkClosesIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, tp := presentLink(t, beat, bus.Options{})
		for i := range 3 {
			require.NoError(t, l.Send(event(strconv.Itoa(i))))
		}
		began := time.Now()
		require.NoError(t, l.Close())
		require.Zero(t, time.Since(began), "there is nobody to wait for")
		require.EqualValues(t, 3, l.Stats().Unsent)
		require.Zero(t, l.Stats().Queued)
		require.Equal(t, []string{"0", "1", "2"}, tp.unsent)
		require.ErrorIs(t, l.Send(event("late")), bus.ErrClosed)
	})
}

func TestAGoodbyeIsAddressed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, tp := presentLink(t, beat, bus.Options{})
		f := lifeAt(t, l, time.Now(), everything)
		f.hello() // it may have confirmed the link by the answer, though the link does not know
		require.NoError(t, l.Close())
		bye := tp.take(bus.Goodbye)
		require.Len(t, bye, 1)
		require.Equal(t, f.session, bye[0].Metadata["leat-peer"])
	})
}

func TestHelloIsRepeatedForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, tp := presentLink(t, beat, bus.Options{})
		time.Sleep(2 * time.Hour)
		hellos := len(tp.take(bus.ListRequest))
		require.Greater(t, hellos, 2*60*60/5)
		require.Less(t, hellos, 2*60*60/3)
		f := lifeAt(t, l, time.Now(), everything)
		time.Sleep(5 * time.Second)
		f.meets(tp)
		time.Sleep(time.Minute)
		require.Empty(t, tp.take(bus.ListRequest))
	})
}

func TestSessionsOfOneBusAreNewerAndNewer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the clock stands still
		b := bus.New(bus.Options{Logger: slog.New(slog.DiscardHandler)})
		defer b.Close()
		last := int64(0)
		for i := range 100 {
			tp := new(tape)
			_, err := b.Attach(t.Context(), &bus.Channel{ID: fmt.Sprint(i), Publisher: tp, Out: "out", Heartbeat: -1})
			require.NoError(t, err)
			hello := tp.take()[0].Metadata["leat-session"]
			at, err := strconv.ParseInt(hello[:slices.Index([]byte(hello), '-')], 36, 64)
			require.NoError(t, err)
			require.Greater(t, at, last)
			last = at
		}
	})
}
