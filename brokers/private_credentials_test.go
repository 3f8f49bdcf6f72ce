//go:build unix

package brokers_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/brokers"
)

// owned lets a server's own user read its certificates.
func (a *authority) owned(owner string) {
	if owner == "" {
		return
	}
	uid, gid := ids(a.t, owner)
	files, err := filepath.Glob(filepath.Join(a.dir, "*"))
	require.NoError(a.t, err)
	for _, file := range files {
		require.NoError(a.t, os.Chown(file, uid, gid))
	}
}

// protectedRedis takes TLS only, from clients with a certificate, and one user.
func protectedRedis(t testing.TB) (*private, *authority) {
	t.Helper()
	var found []string
	if path, err := exec.LookPath("redis-server"); err == nil {
		found = append(found, path)
	}
	path := redisServer.path(t, found...)
	ca := newAuthority(t, t.TempDir())
	p := &private{t: t, port: freePort(t), at: "rediss://localhost:%d/0", crash: syscall.SIGKILL}
	p.run = func(p *private) *child {
		return spawn(t, "minder", "", path, "--port", "0", "--tls-port", strconv.Itoa(p.port), "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "",
			"--tls-cert-file", ca.file("server.pem"), "--tls-key-file", ca.file("server.key"), "--tls-ca-cert-file", ca.file("ca.pem"),
			"--user", secretUser, "on", ">"+secretPassword, "~*", "&*", "+@all", "--user", "default", "off")
	}
	p.probe = func(ctx context.Context, port int) error {
		client := redisAdmin(ca, port)
		defer func() { _ = client.Close() }()
		return client.Ping(ctx).Err()
	}
	return p.start(), ca
}

func redisAdmin(ca *authority, port int) *redis.Client {
	config := ca.offers()
	config.ServerName = "localhost"
	return redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port), TLSConfig: config, Username: secretUser, Password: secretPassword, MaxRetries: -1})
}

func TestRedisCredentials(t *testing.T) {
	t.Parallel()
	p, ca := protectedRedis(t)
	requireAccess(t, access{p.url(), brokers.Options{TLS: ca.offers(), Credentials: right},
		map[string]brokers.Options{
			"the password":   {TLS: ca.offers(), Credentials: wrong},
			"no user":        {TLS: ca.offers()},
			"no certificate": {TLS: &tls.Config{RootCAs: ca.roots}, Credentials: right},
			"no roots":       {Credentials: right},
		}})
	requireAccess(t, access{p.url(), brokers.Options{TLS: ca.offers(), Credentials: asking(right)},
		map[string]brokers.Options{"the password": {TLS: ca.offers(), Credentials: asking(wrong)}}})
	inURL := strings.Replace(p.url(), "rediss://", "redis://"+secretUser+":"+secretPassword+"@", 1)
	requireAccess(t, access{url: inURL, opts: brokers.Options{TLS: ca.offers()}})
	plain := startRedis(t)
	requireDial(t, "redis://", fmt.Sprintf("127.0.0.1:%d", plain.port))
}

// protectedPostgres takes TLS only, from clients with a certificate, and one user with a password.
func protectedPostgres(t testing.TB) (*private, *authority) {
	t.Helper()
	path := postgresPath(t)
	dir, owner := ownedDir(t, "postgres")
	certs, _ := ownedDir(t, "postgres")
	ca := newAuthority(t, certs)
	password := ca.file("password")
	require.NoError(t, os.WriteFile(password, []byte(secretPassword), 0o600))
	hba := ca.file("hba.conf")
	require.NoError(t, os.WriteFile(hba, []byte("hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n"), 0o600))
	ca.owned(owner)
	initPostgres(t, path, dir, owner, "-U", secretUser, "--pwfile", password, "-A", "scram-sha-256")
	p := &private{t: t, port: freePort(t), at: "postgres://localhost:%d/postgres", crash: syscall.SIGQUIT}
	p.run = func(p *private) *child {
		return spawn(t, "minder", owner, path, "-D", dir, "-p", strconv.Itoa(p.port), "-k", dir, "-c", "listen_addresses=127.0.0.1",
			"-c", "hba_file="+hba, "-c", "ssl=on", "-c", "ssl_cert_file="+ca.file("server.pem"), "-c", "ssl_key_file="+ca.file("server.key"),
			"-c", "ssl_ca_file="+ca.file("ca.pem"))
	}
	p.probe = func(ctx context.Context, _ int) error {
		conn, err := postgresAdmin(ctx, ca, p)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	}
	return p.start(), ca
}

func postgresAdmin(ctx context.Context, ca *authority, p *private) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(p.url() + "?sslmode=require")
	if err != nil {
		return nil, err
	}
	config.User, config.Password = secretUser, secretPassword
	config.TLSConfig.Certificates = []tls.Certificate{ca.client}
	return pgx.ConnectConfig(ctx, config)
}

func TestPostgresCredentials(t *testing.T) {
	t.Parallel()
	p, ca := protectedPostgres(t)
	requireAccess(t, access{p.url(), brokers.Options{TLS: ca.offers(), Credentials: right},
		map[string]brokers.Options{
			"the password":   {TLS: ca.offers(), Credentials: wrong},
			"no user":        {TLS: ca.offers()},
			"no certificate": {TLS: &tls.Config{RootCAs: ca.roots}, Credentials: right},
			"no roots":       {TLS: &tls.Config{}, Credentials: right},
			"no TLS":         {Credentials: right},
		}})
	requireAccess(t, access{p.url() + "?sslmode=disable", brokers.Options{TLS: ca.offers(), Credentials: asking(right)},
		map[string]brokers.Options{"the password": {TLS: ca.offers(), Credentials: asking(wrong)}}})
	files := fmt.Sprintf("?sslmode=verify-full&sslrootcert=%s&sslcert=%s&sslkey=%s", ca.file("ca.pem"), ca.file("client.pem"), ca.file("client.key"))
	requireAccess(t, access{url: strings.Replace(p.url(), "://", "://"+secretUser+":"+secretPassword+"@", 1) + files})
	requireAccess(t, access{url: p.url() + files + "&user=" + secretUser + "&password=" + secretPassword})
	plain := startPostgres(t)
	requireDial(t, "postgres://postgres@", fmt.Sprintf("127.0.0.1:%d", plain.port), "/postgres")
}

// TestRabbitCredentials: of a node that takes TLS only, from clients with a certificate, and one user.
func TestRabbitCredentials(t *testing.T) {
	t.Parallel()
	certs, owner := ownedDir(t, "rabbitmq")
	ca := newAuthority(t, certs)
	p := startRabbit(t, func(p *private) (config string) {
		p.at = "amqps://" + secretUser + ":" + secretPassword + "@localhost:%d/"
		config = fmt.Sprintf("listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:%d\nssl_options.cacertfile = %s\nssl_options.certfile = %s\n"+
			"ssl_options.keyfile = %s\nssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\ndefault_user = %s\ndefault_pass = %s\n",
			p.port, ca.file("ca.pem"), ca.file("server.pem"), ca.file("server.key"), secretUser, secretPassword)
		p.probe = func(ctx context.Context, _ int) error {
			b, err := brokers.Open(ctx, p.url(), brokers.Options{TLS: ca.offers(), Logger: silent})
			if err != nil {
				return err
			}
			return b.Close()
		}
		require.NoError(t, os.WriteFile(ca.file("rabbitmq.conf"), []byte(config), 0o600))
		ca.owned(owner)
		return ca.file("rabbitmq.conf")
	})
	at := fmt.Sprintf("amqps://localhost:%d/", p.port)
	requireAccess(t, access{at, brokers.Options{TLS: ca.offers(), Credentials: right},
		map[string]brokers.Options{
			"the password":   {TLS: ca.offers(), Credentials: wrong},
			"no user":        {TLS: ca.offers()},
			"no certificate": {TLS: &tls.Config{RootCAs: ca.roots}, Credentials: right},
			"no roots":       {Credentials: right},
		}})
	requireAccess(t, access{strings.Replace(at, "amqps", "amqp", 1), brokers.Options{TLS: ca.offers(), Credentials: asking(right)},
		map[string]brokers.Options{"the password": {TLS: ca.offers(), Credentials: asking(wrong)}}})
	requireAccess(t, access{url: p.url(), opts: brokers.Options{TLS: ca.offers()}})
	requireDial(t, "amqps://"+secretUser+":"+secretPassword+"@", fmt.Sprintf("127.0.0.1:%d", p.port),
		fmt.Sprintf("/?cacertfile=%s&certfile=%s&keyfile=%s&server_name_indication=localhost", ca.file("ca.pem"), ca.file("client.pem"), ca.file("client.key")))
}

// TestRule25PasswordThatChanges: the server takes another password from now on, and ends all connections. With the one
// that it was opened with the client stays out, and says nothing of it that is secret; one that is asked for is right again.
func TestRule25PasswordThatChanges(t *testing.T) {
	t.Parallel()
	const changed = secretPassword + "Changed"
	for name, begin := range map[string]func(t *testing.T) (url string, ca *authority, change func()){
		"jetstream": func(t *testing.T) (string, *authority, func()) {
			ca := newAuthority(t, t.TempDir())
			o := server.Options{Host: "127.0.0.1", Port: freePort(t), JetStream: true, StoreDir: t.TempDir(), NoSigs: true,
				TLSConfig: ca.demands(), TLSVerify: true, Username: secretUser, Password: secretPassword}
			before, after := o, o
			after.Password = changed
			s := startNATS(t, &before)
			return "jetstream://" + hostOf(s), ca, func() {
				s.Shutdown()
				s.WaitForShutdown()
				startNATS(t, &after)
			}
		},
		"redis": func(t *testing.T) (string, *authority, func()) {
			p, ca := protectedRedis(t)
			return p.url(), ca, func() {
				client := redisAdmin(ca, p.port)
				defer func() { _ = client.Close() }()
				require.NoError(t, client.Do(t.Context(), "ACL", "SETUSER", secretUser, "resetpass", ">"+changed).Err())
				require.NoError(t, client.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal").Err())
			}
		},
		"postgres": func(t *testing.T) (string, *authority, func()) {
			p, ca := protectedPostgres(t)
			return p.url(), ca, func() {
				conn, err := postgresAdmin(t.Context(), ca, p)
				require.NoError(t, err)
				_, err = conn.Exec(t.Context(), `ALTER ROLE "`+secretUser+`" PASSWORD '`+changed+`'`)
				require.NoError(t, err)
				_, err = conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`)
				require.NoError(t, err)
				require.NoError(t, conn.Close(t.Context()))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, ca, change := begin(t)
			var password atomic.Value
			password.Store(secretPassword)
			said := new(record)
			o := brokers.Options{TLS: ca.offers(), Namespace: namespace(), Logger: said.logger(), PublishRetry: time.Second}
			o.Credentials.Ask = func(context.Context) (string, string, error) { return secretUser, password.Load().(string), nil }
			asks, err := brokers.Open(t.Context(), url, o)
			require.NoError(t, err)
			o.Credentials = right
			stays, err := brokers.Open(t.Context(), url, o)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			topic := asks.Topic("changing")
			in, err := asks.Subscriber().Subscribe(ctx, topic)
			require.NoError(t, err)

			password.Store(changed)
			change()
			require.Eventually(t, func() bool {
				return asks.Publisher().Publish(topic, message.NewMessage("", []byte("again"))) == nil
			}, patience, 50*time.Millisecond)
			require.Equal(t, "again", take(t, in))
			err = stays.Publisher().Publish(topic, message.NewMessage("", nil))
			require.Error(t, err)
			requireDiscreet(t, err, url)
			cancel()
			requireDiscreet(t, stays.Close(), url)
			require.NoError(t, asks.Close())
			require.NotContains(t, strings.ToLower(said.String()), secretMark)
		})
	}
}
