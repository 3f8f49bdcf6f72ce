package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/bus/memory"
	"github.com/leatbus/leat/pairing/fleet"
)

// forge makes a notice of a fleet, as a forger may write it.
func forge(id, session, kind, body string, more ...string) *message.Message {
	m := message.NewMessage(bus.NewID(), []byte(body))
	m.Metadata = message.Metadata{"leat-fleet-from": id, "leat-fleet-session": session, "leat-fleet-kind": kind, "leat-fleet-wire": "1"}
	for i := 0; i < len(more); i += 2 {
		m.Metadata["leat-fleet-"+more[i]] = more[i+1]
	}
	return m
}

// say publishes what was forged.
func say(t *testing.T, m *member, topic string, messages ...*message.Message) {
	t.Helper()
	require.NoError(t, m.line.PubSub.Publish("test."+topic, messages...))
	synctest.Wait()
}

func sessionAt(at time.Time) string { return strconv.FormatInt(at.UnixMicro(), 36) + "-forged" }

// topicsOf counts what a process publishes, by topic.
func topicsOf(m *member) func() map[string]int {
	counts := make(map[string]int)
	m.line.set(func() {
		m.line.hold = func(topic string) bool { // called under the line's lock, and holds nothing
			counts[topic]++
			return false
		}
	})
	return func() map[string]int {
		m.line.mu.Lock()
		defer m.line.mu.Unlock()
		taken := make(map[string]int, len(counts))
		for topic, n := range counts {
			taken[topic] = n
		}
		clear(counts)
		return taken
	}
}

// TestRule24AForgedProcessCostsNothing: 20,000 beats of processes that do not exist make no member, no goroutine and no inbox.
func TestRule24AForgedProcessCostsNothing(t *testing.T) { // not parallel: it counts goroutines
	for _, kind := range []string{"beat", "hello", "change"} {
		t.Run(kind, func(t *testing.T) {
			bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
				published := topicsOf(caller)
				before := runtime.NumGoroutine()
				var all []*message.Message
				for i := range 20_000 {
					all = append(all, forge("fake-"+strconv.Itoa(i), sessionAt(time.Now()), kind, "{}", "version", "2"))
				}
				say(t, caller, "discovery", all...)
				require.Len(t, caller.fleet.Members(), 1)
				require.LessOrEqual(t, runtime.NumGoroutine(), before+10)
				sent := published()
				require.LessOrEqual(t, sent["test.discovery"], 64, "they are welcomed in few messages")
				time.Sleep(30 * time.Second)
				for topic := range published() {
					require.NotContains(t, topic, "fake")
				}
				require.Len(t, caller.fleet.Members(), 1)
				got, err := caller.ExecuteRaw(context.Background(), "echo", json.RawMessage("1"))
				require.NoError(t, err)
				require.Equal(t, "1", string(got))
			})
		})
	}
}

// TestRule24MembersAreBounded: also those that know the process's session.
func TestRule24MembersAreBounded(t *testing.T) {
	t.Parallel()
	bubble(t, 1, fleet.Options{MaxMembers: 10}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
		self := sessionOf(t, team[0], "caller")
		for i := range 100 {
			say(t, caller, "inbox.caller", forge("fake-"+strconv.Itoa(i), sessionAt(time.Now()), "ping", "", "to", self))
		}
		require.Len(t, caller.fleet.Members(), 10)
		require.EqualValues(t, 91, caller.fleet.Stats().Refused)
		time.Sleep(15 * time.Second)
		require.Len(t, caller.fleet.Members(), 1, "they are forgotten when they are silent")
		late := join(t, caller.line.PubSub, "late", fleet.Options{})
		synctest.Wait()
		require.Len(t, caller.fleet.Members(), 2)
		late.end(t)
	})
}

// TestRule26NoOneMessageEndsAProcess: not one under its own ID, and not one under the ID of another, from now or from the future.
func TestRule26NoOneMessageEndsAProcess(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{time.Millisecond, time.Second, time.Hour, 100 * 365 * 24 * time.Hour} {
		for _, kind := range []string{"beat", "hello", "change", "flush"} {
			t.Run(fmt.Sprintf("%s %v ahead", kind, ahead), func(t *testing.T) {
				t.Parallel()
				bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
					topic := "discovery"
					if kind == "flush" {
						topic = "events"
					}
					results := calling(caller, "wait", 3)
					synctest.Wait()
					time.Sleep(time.Second)
					for _, id := range []string{"caller", "worker-0"} {
						say(t, caller, topic, forge(id, sessionAt(time.Now().Add(ahead)), kind, "", "version", "7"))
					}
					time.Sleep(20 * time.Second)
					synctest.Wait()
					for _, m := range append(team, caller) {
						require.NoError(t, m.fleet.Err())
						require.Len(t, m.fleet.Members(), 1)
					}
					require.Empty(t, results, "the calls go on")
				})
			})
		}
	}
}

// TestRule26ALaterLifeTakesOver: the process that was restarted under its ID is the one that stays, and its calls end.
func TestRule26ALaterLifeTakesOver(t *testing.T) {
	t.Parallel()
	bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
		results := calling(caller, "wait", 3)
		synctest.Wait()
		time.Sleep(time.Second)
		again := join(t, caller.line.PubSub, "worker-0", fleet.Options{})
		synctest.Wait()
		<-team[0].fleet.Done()
		require.ErrorContains(t, team[0].fleet.Err(), "same ID")
		for range 3 {
			require.Error(t, (<-results).err)
		}
		require.NoError(t, again.fleet.Err())
		require.Len(t, caller.fleet.Members(), 1)
		again.end(t)
	})
}

// TestRule26LiesAboutVersionsAreOver: one change that claims a version which is not there makes the process ask, and not for ever;
// what the other one says then counts.
func TestRule26LiesAboutVersionsAreOver(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"9223372036854775807", "4611686018427387904", "9007199254740993", "1000000", "1000", "-1", "-9223372036854775808"} {
		for _, kind := range []string{"change", "beat", "list"} {
			t.Run(kind+" "+version, func(t *testing.T) {
				t.Parallel()
				bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
					worker := sessionOf(t, caller, "worker-0")
					published := topicsOf(caller)
					if kind == "list" {
						say(t, caller, "inbox.caller", forge("worker-0", worker, kind, `{"add":[{"id":"lie"}]}`, "version", version, "part", "1/1",
							"to", sessionOf(t, team[0], "caller")))
					} else {
						say(t, caller, "discovery", forge("worker-0", worker, kind, `{}`, "version", version))
					}
					require.LessOrEqual(t, published()["test.inbox.worker-0"], 3)
					time.Sleep(time.Minute)
					letters := published()["test.inbox.worker-0"]
					time.Sleep(time.Minute)
					require.LessOrEqual(t, letters, published()["test.inbox.worker-0"]+10, "in a minute, and in one without lies")
					serve(t, team[0], "new", func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil })
					require.True(t, team[0].Unregister("echo"))
					time.Sleep(3 * time.Second)
					synctest.Wait()
					require.Equal(t, []string{"new", "wait"}, caller.fleet.Members()[0].Commands, "the truth is heard")
				})
			})
		}
	}
}

// TestRule26AForgedChangeIsFoundOut: one that takes the place of the next change, in time.
func TestRule26AForgedChangeIsFoundOut(t *testing.T) {
	t.Parallel()
	bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
		worker := sessionOf(t, caller, "worker-0")
		body := `{"from":"` + caller.fleet.HashOf("worker-0") + `","add":[{"id":"lie"}],"remove":["echo"]}`
		hash := caller.fleet.HashAfter("worker-0", body)
		hold(team[0], "caller")
		say(t, caller, "discovery", forge("worker-0", worker, "change", body, "version", "4", "hash", hash))
		require.Equal(t, []string{"lie", "wait"}, caller.fleet.Members()[0].Commands, "it is what the change says")
		team[0].line.release(t)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []string{"echo", "wait"}, caller.fleet.Members()[0].Commands, "the member has heard it too")
	})
}

// TestFleetListThatAChangeOvertakes: a list that was on its way when a change came takes nothing back.
func TestFleetListThatAChangeOvertakes(t *testing.T) {
	t.Parallel()
	bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
		time.Sleep(time.Minute)
		say(t, caller, "discovery", forge("worker-0", sessionOf(t, caller, "worker-0"), "beat", "", "version", "100")) // it asks
		hold(team[0], "caller")
		time.Sleep(time.Second)
		say(t, caller, "discovery", forge("worker-0", sessionOf(t, caller, "worker-0"), "beat", "", "version", "100"))
		require.NotEmpty(t, team[0].line.held, "the answer is held up")
		time.Sleep(time.Millisecond)
		serve(t, team[0], "new", func(context.Context, json.RawMessage) (json.RawMessage, error) { return nil, nil })
		synctest.Wait()
		require.Contains(t, caller.fleet.Members()[0].Commands, "new")
		team[0].line.release(t)
		for range 20 {
			synctest.Wait()
			require.Contains(t, caller.fleet.Members()[0].Commands, "new")
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// TestRule26ForgedChangesArePaced: however many lies there are, there are few questions, and few lists.
func TestRule26ForgedChangesArePaced(t *testing.T) {
	t.Parallel()
	bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
		worker, self := sessionOf(t, caller, "worker-0"), sessionOf(t, team[0], "caller")
		asks, lists := topicsOf(caller), topicsOf(team[0])
		for i := range 600 {
			for range 10 {
				say(t, caller, "discovery", forge("worker-0", worker, "change", `{}`, "version", strconv.Itoa(1000+i)))
				say(t, caller, "inbox.worker-0", forge("caller", self, "fetch", "", "to", worker))
			}
			time.Sleep(100 * time.Millisecond)
		}
		require.LessOrEqual(t, asks()["test.inbox.worker-0"], 120, "they watch each other, too")
		require.LessOrEqual(t, lists()["test.inbox.caller"], 600*promptLists+30, "at most some each tenth of a second")
		time.Sleep(7 * time.Second)
		require.Equal(t, []string{"echo", "wait"}, caller.fleet.Members()[0].Commands)
	})
}

const promptLists = 3

// TestRule26GapsAreConfirmed: a beat that says that the sender's inbox has lost something ends no calls; its answer does.
func TestRule26GapsAreConfirmed(t *testing.T) {
	t.Parallel()
	bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, _ []*member, _ []*atomic.Int64) {
		results := calling(caller, "wait", 3)
		synctest.Wait()
		for _, gaps := range []string{"1", "1000", "9223372036854775807"} {
			say(t, caller, "discovery", forge("worker-0", sessionOf(t, caller, "worker-0"), "beat", "", "gaps", gaps, "version", "3"))
			time.Sleep(5 * time.Second)
		}
		require.Empty(t, results)
	})
}

// TestRule26NamesOfProcessesAreChecked: where they come from, and before they become part of a topic.
func TestRule26NamesOfProcessesAreChecked(t *testing.T) {
	t.Parallel()
	bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
		self := sessionOf(t, team[0], "caller")
		bad := []string{"a b", "a.*", ">", "a/b", "é", "a\nb", strings.Repeat("x", 129), "a%20b"}
		for _, id := range bad {
			say(t, caller, "discovery", forge(id, sessionAt(time.Now()), "beat", ""))
			say(t, caller, "inbox.caller", forge(id, sessionAt(time.Now()), "ping", "", "to", self))
			say(t, caller, "inbox.caller", forge("fine", "1-"+id, "ping", "", "to", self))
		}
		require.EqualValues(t, 3*len(bad), caller.fleet.Stats().Rejected)
		require.Len(t, caller.fleet.Members(), 1)
	})
}

// TestRule27WhatIsNotKnownIsSkipped: kinds and fields of a later version cost nothing.
func TestRule27WhatIsNotKnownIsSkipped(t *testing.T) {
	t.Parallel()
	bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, team []*member, _ []*atomic.Int64) {
		worker, self := sessionOf(t, caller, "worker-0"), sessionOf(t, team[0], "caller")
		say(t, caller, "inbox.caller", forge("worker-0", worker, "telepathy", "{", "to", self))
		body := `{"from":"` + caller.fleet.HashOf("worker-0") + `","add":[{"id":"x","colour":1}],"flags":[1]}`
		say(t, caller, "discovery", forge("worker-0", worker, "change", body, "version", "4", "hash", caller.fleet.HashAfter("worker-0", body), "mood", "good"))
		require.EqualValues(t, 1, caller.fleet.Stats().Unknown)
		require.Zero(t, caller.fleet.Stats().Rejected)
		require.Contains(t, caller.fleet.Members()[0].Commands, "x")
	})
}

// forgeries draws what a client without a key may write that reads along: all but the one message that says, by a later life under
// the reader's own ID, that it has heard of the reader's.
func forgeries(r *rand.Rand, all []*member, sessions map[string]string) func() (topic string, m *message.Message) {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	ids := []string{"fake-1", "fake-2"}
	for _, m := range all {
		ids = append(ids, m.fleet.ID())
	}
	kinds := []string{"hello", "beat", "change", "suspect", "drain", "join", "sync", "view", "fetch", "list", "confirm", "ping", "pong", "bye", "flush", "flushed",
		"probe", "odd"}
	bodies := []string{"", "{", "{}", `{"clear":true}`, `{"add":[{"id":"lie"}]}`, `{"remove":["echo","who"]}`, `{"add":[{"id":"d"}],"durable":["d"]}`,
		`{"join":[{"group":"g","pattern":"x.*"}]}`, `{"welcome":["` + sessions["p0"] + `"]}`,
		`{"suspect":["` + sessions["p1"] + `"]}`, `{"members":[{"id":"fake-1","session":"1-x","version":1}]}`, `{"buckets":[1]}`}
	return func() (string, *message.Message) {
		target, id := pick("p0", "p1", "p2"), pick(ids...)
		session := pick(sessions[id], sessionAt(time.Now()), sessionAt(time.Now().Add(-time.Hour)), sessionAt(time.Now().Add(1000*time.Hour)))
		topic := pick("discovery", "discovery", "events", "inbox."+target)
		to := pick("", sessions[target], "1-other")
		if session == "" {
			session = sessionAt(time.Now())
		}
		body := pick(bodies...)
		if session != sessions[id] && (id == target && to != "" || id == "p0" && strings.Contains(body, "welcome")) {
			to, body = "", "{}"
		}
		m := forge(id, session, pick(kinds...), body, "version", pick("", "1", "2", "3", "4", "1000", "9007199254740991", "9223372036854775807"),
			"part", pick("1/1", "1/2", "2/2", "4096/4096"), "gaps", pick("", "1", "7"), "echo", pick("", "1", strconv.FormatInt(time.Now().UnixMicro(), 10)),
			"sent", strconv.FormatInt(time.Now().UnixMicro(), 10), "thread", pick("", "inbox", "x"), "drained", pick("", "1"), "to", to)
		for k, v := range m.Metadata {
			if v == "" {
				delete(m.Metadata, k)
			}
		}
		return topic, m
	}
}

// TestRule26AFleetComesToRestAfterAnyForgery: whatever a client without a key writes, some leases later all processes know each other and what
// they serve, and no other process.
func TestRule26AFleetComesToRestAfterAnyForgery(t *testing.T) {
	t.Parallel()
	runs := 60
	if testing.Short() {
		runs = 10
	}
	for seed := range runs {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(seed), 26))
				ps := memory.New(memory.Options{})
				var all []*member
				sessions := map[string]string{}
				for i := range 3 {
					m := join(t, ps, "p"+strconv.Itoa(i), fleet.Options{})
					who := "who." + strconv.Itoa(i)
					serve(t, m, who, func(context.Context, json.RawMessage) (json.RawMessage, error) {
						return json.RawMessage(strconv.Itoa(i)), nil
					})
					all = append(all, m)
				}
				synctest.Wait()
				for i, m := range all {
					sessions[m.fleet.ID()] = sessionOf(t, all[(i+1)%3], m.fleet.ID())
				}
				next := forgeries(r, all, sessions)
				for range 300 {
					topic, m := next()
					say(t, all[0], topic, m)
					time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
				}
				time.Sleep(30 * time.Second) // five leases
				synctest.Wait()
				for i, m := range all {
					require.NoError(t, m.fleet.Err())
					members := m.fleet.Members()
					require.Len(t, members, 2)
					for _, other := range members {
						require.Equal(t, []string{"who." + strings.TrimPrefix(other.ID, "p")}, other.Commands)
						require.Empty(t, other.Groups)
					}
					got, err := m.ExecuteRaw(context.Background(), "who."+strconv.Itoa((i+1)%3), nil)
					require.NoError(t, err)
					require.Equal(t, strconv.Itoa((i+1)%3), string(got))
				}
				for _, m := range all {
					m.end(t)
				}
				require.NoError(t, ps.Close())
				synctest.Wait()
			})
		})
	}
}

// TestFleetOfTwoWires: a process that speaks no version of the wire that this one speaks, be it older or newer, is seen, counted, logged
// once, and not called; it can be seen for as long as it is there.
func TestFleetOfTwoWires(t *testing.T) {
	t.Parallel()
	for name, wire := range map[string][2]string{"older": {"", ""}, "newer": {"7", "3"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, 1, fleet.Options{}, func(t *testing.T, caller *member, team []*member, runs []*atomic.Int64) {
				self, session := sessionOf(t, team[0], "caller"), sessionAt(time.Now())
				say := func(topic, kind, body string, more ...string) {
					m := forge("other", session, kind, body, append(more, "wire", wire[0], "oldest", wire[1], "version", "3")...)
					for k, v := range m.Metadata {
						if v == "" {
							delete(m.Metadata, k)
						}
					}
					say(t, caller, topic, m)
				}
				for range 20 {
					say("discovery", "beat", `{"welcome":["`+self+`"]}`)
					say("discovery", "change", `{"add":[{"id":"echo"},{"id":"other"}],"flags":7}`)
					say("inbox.caller", "list", `{"add":7}`, "to", self, "part", "1/1")
					members := caller.fleet.Members()
					require.Len(t, members, 2)
					require.Equal(t, "other", members[0].ID)
					require.True(t, members[0].Incompatible)
					require.Empty(t, members[0].Commands)
					require.False(t, members[1].Incompatible)
					require.Equal(t, 1, members[1].Wire)
					_, err := caller.ExecuteRaw(context.Background(), "echo", nil)
					require.NoError(t, err)
					_, err = caller.ExecuteRaw(context.Background(), "other", nil)
					require.Error(t, err)
					time.Sleep(2 * time.Second)
				}
				require.EqualValues(t, 20, runs[0].Load())
				require.EqualValues(t, 1, caller.fleet.Stats().Incompatible)
				require.Zero(t, caller.fleet.Stats().Rejected)
				time.Sleep(30 * time.Second)
				require.Len(t, caller.fleet.Members(), 1, "it is gone")
			})
		})
	}
}
