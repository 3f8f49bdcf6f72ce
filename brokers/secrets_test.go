package brokers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leatbus/leat/brokers"
)

// The marks of what must not be shown.
const (
	secretUser     = "S3cr3tUser"
	secretPassword = "S3cr3tPass"
	secretMark     = "s3cr3t"
)

// remoteSchemes are those with a user in the URL.
var remoteSchemes = []string{"nats", "tls", "nats+jetstream", "jetstream", "redis", "rediss", "amqp", "amqps",
	"postgres", "postgresql", "kafka", "memory", "gochannel", "mysql", "", "REDIS"}

// record is a log of everything, to be looked through.
type record struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

func (r *record) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug - 8}))
}

// requireDiscreet looks through an error, in every way to print it, and everything that it wraps.
func requireDiscreet(t require.TestingT, err error, about string) {
	if err == nil {
		return
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%q"} {
		text := strings.ToLower(fmt.Sprintf(format, err))
		require.NotContainsf(t, text, secretMark, "%s of %T, of %q", format, err, about)
	}
	switch wrapper := err.(type) {
	case interface{ Unwrap() error }:
		requireDiscreet(t, wrapper.Unwrap(), about)
	case interface{ Unwrap() []error }:
		for _, wrapped := range wrapper.Unwrap() {
			requireDiscreet(t, wrapped, about)
		}
	}
	var inner interface{ Unwrap() error }
	if errors.As(err, &inner) && inner != err.(any) {
		requireDiscreet(t, inner.(error), about)
	}
}

// openDiscreetly opens a URL without a server, and looks through all that is said.
func openDiscreetly(t require.TestingT, url string) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	said := new(record)
	b, err := brokers.Open(ctx, url, brokers.Options{Logger: said.logger()})
	if err == nil {
		require.NoError(t, b.Close())
	}
	requireDiscreet(t, err, url)
	require.NotContains(t, strings.ToLower(said.String()), secretMark, url)
}

// malformed are ways to write a URL, each with a user, a password or a parameter that is secret.
var malformed = []string{
	"://S3cr3tUser:S3cr3tPass@127.0.0.1:1/0",
	"://S3cr3tUser:S3cr3tPass%zz@127.0.0.1:1/0",
	"://S3cr3tUser%:S3cr3tPass@127.0.0.1:1/0",
	"://S3cr3tUser:S3cr3t/Pass@127.0.0.1:1/0",
	"://S3cr3tUser:1/S3cr3tPass@127.0.0.1:1/0",
	"://S3cr3tUser:S3cr3t#Pass@127.0.0.1:1/0",
	"://S3cr3tUser:1#S3cr3tPass@127.0.0.1:1/0",
	"://S3cr3tUser:S3cr3t?Pass@127.0.0.1:1/0",
	"://S3cr3tUser:1?S3cr3tPass@127.0.0.1:1/0",
	"://S3cr3tUser:S3cr3t@Pass@127.0.0.1:1/0",
	"://S3cr3tUser:S3cr3t\\Pass@127.0.0.1:1/0",
	"://S3cr3tUser:S3cr3t Pass@127.0.0.1:1/0",
	"://S3cr3tUser:S3cr3t\x00Pass@127.0.0.1:1/0",
	"://S3cr3tUser:S3cr3t\nPass@127.0.0.1:1/0",
	"://S3cr3tUser:S3cr3t\"Pass@127.0.0.1:1/0",
	"://S3cr3tUser:S3cr3t[Pass]@127.0.0.1:1/0",
	"://S3cr3tUser:S3cr3t,Pass@127.0.0.1:1/0",
	"://S3cr3tUser:S3cr3t:Pass@127.0.0.1:1/0",
	"://S3cr3tUser:S3cr3tPass@127.0.0.1:S3cr3t/0",
	"://S3cr3tUser:S3cr3tPass@127.0.0.1:99999/0",
	"://S3cr3tUser:S3cr3tPass@[::1/0",
	"://S3cr3tUser:S3cr3tPass@127.0.0.1:1/%zz",
	"://S3cr3tUser:S3cr3tPass@127.0.0.1:1/nonsense",
	"://S3cr3tUser:S3cr3tPass@",
	"://S3cr3tUser:S3cr3tPass",
	"://S3cr3tPass@127.0.0.1:1",
	"://:S3cr3tPass@127.0.0.1:1",
	"://:S3cr3tPass",
	":S3cr3tUser:S3cr3tPass@127.0.0.1:1/0",
	":/S3cr3tUser:S3cr3tPass@127.0.0.1:1/0",
	"S3cr3tUser:S3cr3tPass@127.0.0.1:1/0",
	"://127.0.0.1:1/0?password=S3cr3tPass",
	"://127.0.0.1:1/0?user=S3cr3tUser&password=S3cr3tPass",
	"://127.0.0.1:1/0?password=S3cr3tPass%zz",
	"://127.0.0.1:1/0?password=S3cr3t;Pass",
	"://127.0.0.1:1/0?password=x&S3cr3tPass",
	"://127.0.0.1:1/0?passwrd=S3cr3tPass",
	"://127.0.0.1:1/0?sslpassword=S3cr3tPass&sslkey=/nowhere&sslcert=/nowhere",
	"://127.0.0.1:1/0?password=S3cr3t#Pass",
	"://127.0.0.1:1/0#S3cr3tPass",
	"://127.0.0.1:1/0?sslmode=nonsense&password=S3cr3tPass",
	"://127.0.0.1:1/0?db=nonsense&password=S3cr3tPass",
	"://127.0.0.1:1/0?heartbeat=nonsense&password=S3cr3tPass",
	"://S3cr3tUser:S3cr3tPass@127.0.0.1:1,S3cr3tUser:S3cr3tPass@127.0.0.1:2",
	"://S3cr3tUser:S3cr3tPass@127.0.0.1:1,S3cr3tUser:S3cr3tOther@127.0.0.1:2",
}

// TestRule25OpenShowsNoSecret: whatever a URL looks like, no error and no log line shows its user, its password or a
// parameter that may be one.
func TestRule25OpenShowsNoSecret(t *testing.T) {
	t.Parallel()
	for _, scheme := range remoteSchemes {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			for _, rest := range malformed {
				if strings.HasPrefix(scheme, "postgres") && strings.HasSuffix(rest, "@") {
					continue // the socket of a server that may be there
				}
				openDiscreetly(t, scheme+rest)
			}
		})
	}
}

// TestRule25AnyURLShowsNoSecret puts anything around the secrets of a URL.
func TestRule25AnyURLShowsNoSecret(t *testing.T) {
	t.Parallel()
	awkward := rapid.SampledFrom([]string{"%", "%zz", "/", "?", "#", "@", ":", ",", ";", "&", "=", "\\", "\x00", "\n", "[", "]", "é", "\xff", "://",
		",nats://", "%40", "%2f", "+", " ", "'", "`", "..", "1"})
	junk := rapid.Map(rapid.SliceOfN(rapid.OneOf(awkward, rapid.StringN(0, 3, -1)), 0, 3), func(parts []string) string { return strings.Join(parts, "") })
	rapid.Check(t, func(r *rapid.T) {
		scheme := rapid.SampledFrom(remoteSchemes).Draw(r, "scheme")
		before, between, behind, tail := junk.Draw(r, "before"), junk.Draw(r, "between"), junk.Draw(r, "behind"), junk.Draw(r, "tail")
		openDiscreetly(r, scheme+"://"+before+secretUser+between+":"+secretPassword+behind+"@127.0.0.1:1"+tail)
		openDiscreetly(r, scheme+"://127.0.0.1:1/?password="+before+secretPassword+behind+tail)
		openDiscreetly(r, scheme+"://127.0.0.1:1/?sslmode=disable&password=1"+between+secretPassword+tail+"@127.0.0.1:1")
	})
}

// TestRule25ReconnectingShowsNoSecret: nor does what a client says when its server does not let it in any more.
func TestRule25ReconnectingShowsNoSecret(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"nats", "jetstream"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true,
				Username: secretUser, Password: secretPassword}
			s := startNATS(t, o)
			said := new(record)
			at := strings.TrimPrefix(s.ClientURL(), "nats://")
			b, err := brokers.Open(t.Context(), scheme+"://"+secretUser+":"+secretPassword+"@"+at, brokers.Options{
				Namespace: "discreet", Logger: said.logger(), PublishRetry: 300 * time.Millisecond})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			_, err = b.Subscriber().Subscribe(ctx, "x")
			require.NoError(t, err)

			refused := *o
			refused.Port, refused.Password = s.Addr().(*net.TCPAddr).Port, "another"
			s.Shutdown()
			s.WaitForShutdown()
			startNATS(t, &refused)
			require.Eventually(t, func() bool { return strings.Contains(strings.ToLower(said.String()), "authorization") },
				patience, 20*time.Millisecond, "the client has not said that it is not let in")
			err = b.Publisher().Publish("x", message.NewMessage("", nil))
			require.Error(t, err)
			requireDiscreet(t, err, scheme)
			cancel()
			requireDiscreet(t, b.Close(), scheme)
			require.NotContains(t, strings.ToLower(said.String()), secretMark)
		})
	}
}
