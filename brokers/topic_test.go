package brokers_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leatbus/leat/brokers"
)

func open(t testing.TB, url string, opts ...brokers.Options) *brokers.Broker {
	t.Helper()
	return kind{}.openAt(t, url, opts...)
}

func TestTopicKeepsWhatIsLegal(t *testing.T) {
	t.Parallel()
	b := open(t, "memory://")
	for name, kept := range map[string]bool{
		"shop.inbox.worker-1": true, "a_b": true, "A.b.C": true,
		"": false, ".a": false, "a.": false, "a..b": false, "a b": false, "a*": false, "a.>": false, "ü": false, "a/b": false,
		strings.Repeat("x", 180): true, strings.Repeat("x", 181): false,
	} {
		got := b.Topic(name)
		require.Equalf(t, kept, got == name, "%q became %q", name, got)
		require.Equal(t, got, b.Topic(name), "the same each time")
		_, err := b.Subscriber().Subscribe(t.Context(), name)
		if !kept {
			require.ErrorIs(t, err, brokers.ErrIllegalTopic)
			require.ErrorIs(t, b.Publisher().Publish(name, text("x")), brokers.ErrIllegalTopic)
		}
	}
	require.Equal(t, "shop-orders-h", b.Topic("shop orders!")[:13], "it can be read")
}

// TestTopicIsInjective draws names that are likely to collide.
func TestTopicIsInjective(t *testing.T) {
	t.Parallel()
	b := open(t, "memory://")
	names := rapid.StringOfN(rapid.SampledFrom([]rune("ab.-_ %*hü0")), 0, 12, -1)
	rapid.Check(t, func(t *rapid.T) {
		x, y := names.Draw(t, "x"), names.Draw(t, "y")
		for _, pair := range [][2]string{{x, y}, {x, b.Topic(y)}} {
			if pair[0] != pair[1] && b.Topic(pair[0]) == b.Topic(pair[1]) && pair[1] == y {
				t.Fatalf("%q and %q have the same topic %q", pair[0], pair[1], b.Topic(x))
			}
		}
		// What looks like a name with a hash has a hash of its own.
		if made := b.Topic(x); made != x && b.Topic(made) == made {
			t.Fatalf("%q and %q have the same topic", x, made)
		}
	})
}

func TestJoinTopicsNeverCollide(t *testing.T) {
	t.Parallel()
	b := open(t, "memory://")
	seen := make(map[string]string)
	for _, pair := range [][2]string{{"a.b", "c"}, {"a", "b.c"}, {"a%2Eb", "c"}, {"a", "b"}, {"b", "a"}, {"a b", "c"}, {"a-b", "c"}, {"c", "a b"}} {
		out := b.Join(pair[0], pair[1]).Out
		require.Emptyf(t, seen[out], "%v has the topic of %s", pair, seen[out])
		seen[out] = strings.Join(pair[:], " to ")
		require.Equal(t, out, b.Join(pair[1], pair[0]).In)
	}
}
