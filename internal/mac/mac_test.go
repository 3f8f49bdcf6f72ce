package mac_test

import (
	"bytes"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leatbus/leat/internal/mac"
)

func keys(t testing.TB, names ...string) *mac.Keys {
	t.Helper()
	var all [][]byte
	for _, n := range names {
		all = append(all, bytes.Repeat([]byte(n), mac.MinKey))
	}
	k, err := mac.New(all)
	require.NoError(t, err)
	return k
}

func TestKeysAreChecked(t *testing.T) {
	t.Parallel()
	none, err := mac.New(nil)
	require.NoError(t, err)
	require.Nil(t, none)
	for name, k := range map[string][][]byte{
		"short":    {make([]byte, mac.MinKey-1)},
		"empty":    {nil},
		"second":   {make([]byte, mac.MinKey), []byte("short")},
		"too many": make([][]byte, mac.MaxKeys+1),
	} {
		_, err := mac.New(k)
		require.ErrorIs(t, err, mac.ErrKeys, name)
	}
	mine := bytes.Repeat([]byte("k"), 16)
	k, err := mac.New([][]byte{mine})
	require.NoError(t, err)
	clear(mine) // the caller's
	md := map[string]string{}
	k.Sign("d", "t", md, nil)
	require.NoError(t, keys(t, "k").Check("d", "t", md, nil))
}

// TestRotation: a key is added at the back everywhere, then moved to the front, then the old one is dropped; at each step those
// that have made it and those that have not understand each other.
func TestRotation(t *testing.T) {
	t.Parallel()
	steps := []*mac.Keys{keys(t, "a"), keys(t, "a", "b"), keys(t, "b", "a"), keys(t, "b")}
	for from, sender := range steps {
		for to, receiver := range steps {
			md := map[string]string{"x": "1"}
			sender.Sign("d", "t", md, []byte("p"))
			err := receiver.Check("d", "t", md, []byte("p"))
			if from-to <= 1 && to-from <= 1 {
				require.NoError(t, err, "%d to %d", from, to)
				require.NotContains(t, md, mac.Key)
			}
		}
	}
	md := map[string]string{}
	steps[0].Sign("d", "t", md, nil)
	require.ErrorIs(t, steps[3].Check("d", "t", md, nil), mac.ErrForged)
	require.ErrorIs(t, (*mac.Keys)(nil).Check("d", "t", md, nil), mac.ErrKeyless)
	require.ErrorIs(t, steps[0].Check("d", "t", map[string]string{}, nil), mac.ErrUnsigned)
	require.NoError(t, (*mac.Keys)(nil).Check("d", "t", map[string]string{}, nil))
}

// TestNothingOfAMessageCanBeChanged: any other domain, topic, metadata or payload has another MAC, also where the same bytes are
// divided in another way.
func TestNothingOfAMessageCanBeChanged(t *testing.T) {
	t.Parallel()
	k := keys(t, "k")
	type text struct {
		domain, topic string
		md            map[string]string
		payload       []byte
	}
	some := rapid.Custom(func(t *rapid.T) text {
		short := rapid.StringMatching(`[ab]{0,2}`)
		return text{short.Draw(t, "domain"), short.Draw(t, "topic"), rapid.MapOfN(short, short, 0, 3).Draw(t, "md"), []byte(short.Draw(t, "payload"))}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := some.Draw(t, "a"), some.Draw(t, "b")
		same := a.domain == b.domain && a.topic == b.topic && maps.Equal(a.md, b.md) && bytes.Equal(a.payload, b.payload)
		sum := k.Append(nil, a.domain, a.topic, a.md, a.payload)
		if k.Verify(sum, b.domain, b.topic, b.md, b.payload) != same {
			t.Fatalf("%+v and %+v: the same is %v", a, b, same)
		}
		sum[rapid.IntRange(0, mac.Size-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if k.Verify(sum, a.domain, a.topic, a.md, a.payload) {
			t.Fatal("another MAC is taken")
		}
	})
}

func FuzzCheck(f *testing.F) {
	f.Add("", []byte("p"))
	f.Add("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", []byte(nil))
	k := keys(f, "k")
	f.Fuzz(func(t *testing.T, sum string, payload []byte) {
		md := map[string]string{mac.Key: sum}
		err := k.Check("d", "t", md, payload)
		good := map[string]string{}
		k.Sign("d", "t", good, payload)
		if (err == nil) != (sum == good[mac.Key]) {
			t.Fatalf("%q: %v", sum, err)
		}
	})
}

func BenchmarkMAC(b *testing.B) {
	k := keys(b, "k")
	md := map[string]string{"leat-id": "018f2f6e-6f0e-7cc0-8f0e-6f0e7cc08f0e", "leat-type": "execute.command.request", "leat-name": "math.add",
		"leat-session": "h2k3j4l5m6-1y2p0ij32e8e7", "leat-peer": "h2k3j4l5m6-1y2p0ij32e8e8", "leat-deadline": "30000000", "leat-expires": "1700000000000000"}
	payload := bytes.Repeat([]byte("x"), 256)
	b.ReportAllocs()
	for b.Loop() {
		k.Sign("link", "leat.root.worker", md, payload)
	}
}
