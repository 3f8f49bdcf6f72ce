package brokers_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
	"github.com/leatbus/leat/pairing/fleet"
)

// TestRule24ForgedProcessesMakeNoTopics: beats of processes that do not exist leave nothing at the broker.
func TestRule24ForgedProcessesMakeNoTopics(t *testing.T) {
	t.Parallel()
	ns := namespace()
	client := openRedis(t, ns)
	b, err := brokers.Open(t.Context(), redisServer.find(t), brokers.Options{Namespace: ns, Logger: silent})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	_, one := process(t, b, fleet.Options{ID: "one", Lease: 2 * time.Second})
	_, two := process(t, b, fleet.Options{ID: "two", Lease: 2 * time.Second})
	knowEachOther := func() bool { return len(one.Members()) == 1 && len(two.Members()) == 1 }
	require.Eventually(t, knowEachOther, 20*time.Second, 10*time.Millisecond)
	keys := func() []string {
		all, err := client.Keys(t.Context(), ns+"*").Result()
		require.NoError(t, err)
		return all
	}
	before := keys()
	const forged = 500
	received := one.Stats().Received
	for i := range forged {
		m := message.NewMessage(uuid.NewString(), nil)
		m.Metadata = message.Metadata{"leat-fleet-from": fmt.Sprintf("fake-%d", i), "leat-fleet-kind": "beat", "leat-fleet-version": "1",
			"leat-fleet-session": strconv.FormatInt(time.Now().UnixMicro(), 36) + "-forged"}
		require.NoError(t, b.Publisher().Publish(b.Topic(ns+".discovery"), m))
	}
	require.Eventually(t, func() bool { return one.Stats().Received >= received+forged }, 20*time.Second, 10*time.Millisecond)
	sent := one.Stats().Sent
	require.Eventually(t, func() bool { return one.Stats().Sent > sent }, 20*time.Second, 10*time.Millisecond, "a beat that welcomes them")
	require.ElementsMatch(t, before, keys())
	require.True(t, knowEachOther())
}
