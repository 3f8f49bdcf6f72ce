//go:build unix

package brokers_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// private is a server of a test's own, on a port of its own, which the test may stop and start again: what it has
// stored stays.
type private struct {
	t     testing.TB
	port  int
	run   func(*private) *child
	probe func(ctx context.Context, port int) error
	at    string // its URL, with the port to be filled in
	crash syscall.Signal
	child *child
}

func (p *private) url() string { return fmt.Sprintf(p.at, p.port) }

// start returns when it answers.
func (p *private) start() *private {
	p.t.Helper()
	if p.child == nil { // whatever is opened on it later is closed before
		p.t.Cleanup(func() {
			if p.child != nil {
				p.child.end()
			}
		})
	}
	p.child = p.run(p)
	require.Eventually(p.t, func() bool {
		ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Second)
		defer cancel()
		return p.probe == nil || p.probe(ctx, p.port) == nil
	}, 3*time.Minute, 20*time.Millisecond, "%s does not come up", p.url())
	return p
}

// stop ends it without a warning, and returns when it is gone.
func (p *private) stop() {
	p.t.Helper()
	p.child.signal(p.crash)
	<-p.child.ended
}

// freePort returns one that nobody has now.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// path returns that of the server's program, which has to be there. Without real servers it skips the test.
func (e external) path(t testing.TB, found ...string) string {
	t.Helper()
	e.needed(t)
	require.NotEmptyf(t, found, "no program to start a private server, and LEAT_BROKERS=required: install what has `%s`", e.start)
	return found[len(found)-1]
}

func privateNATS(t testing.TB, scheme string) *private {
	dir := t.TempDir()
	p := &private{t: t, port: freePort(t), at: scheme + "://127.0.0.1:%d", crash: syscall.SIGKILL}
	p.run = func(p *private) *child { return spawn(t, "nats", strconv.Itoa(p.port), dir) }
	return p.start()
}

// startRedis starts one that has on disk what it has confirmed.
func startRedis(t testing.TB, more ...string) *private {
	t.Helper()
	var found []string
	if path, err := exec.LookPath("redis-server"); err == nil {
		found = append(found, path)
	}
	path := redisServer.path(t, found...)
	p := &private{t: t, port: freePort(t), at: "redis://127.0.0.1:%d/0", crash: syscall.SIGKILL}
	args := append([]string{"", path, "--port", strconv.Itoa(p.port), "--bind", "127.0.0.1", "--dir", t.TempDir(),
		"--appendonly", "yes", "--appendfsync", "always", "--save", ""}, more...)
	p.run = func(*private) *child { return spawn(t, "minder", args...) }
	p.probe = func(ctx context.Context, port int) error {
		client := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port), MaxRetries: -1})
		defer func() { _ = client.Close() }()
		return client.Ping(ctx).Err()
	}
	return p.start()
}

func postgresPath(t testing.TB) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	require.NoError(t, err)
	if path, err := exec.LookPath("postgres"); err == nil {
		found = append(found, path)
	}
	return postgresServer.path(t, found...)
}

// initPostgres makes the files of a server in dir.
func initPostgres(t testing.TB, path, dir, owner string, args ...string) {
	t.Helper()
	initdb := exec.Command(filepath.Join(filepath.Dir(path), "initdb"), append([]string{"-D", dir, "--no-sync"}, args...)...)
	require.NoError(t, as(initdb, owner))
	out, err := initdb.CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
}

func startPostgres(t testing.TB) *private {
	t.Helper()
	path := postgresPath(t)
	dir, owner := ownedDir(t, "postgres") // it refuses to run as root
	initPostgres(t, path, dir, owner, "-U", "postgres", "-A", "trust")
	p := &private{t: t, port: freePort(t), at: "postgres://postgres@127.0.0.1:%d/postgres", crash: syscall.SIGQUIT}
	p.run = func(p *private) *child {
		return spawn(t, "minder", owner, path, "-D", dir, "-p", strconv.Itoa(p.port), "-k", dir, "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300")
	}
	p.probe = func(ctx context.Context, _ int) error {
		conn, err := pgx.Connect(ctx, p.url())
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	}
	return p.start()
}

// startRabbit starts a node of its own. It takes a while. configure, if any, may change the node before that, and returns the path of
// its configuration, which says where it listens.
func startRabbit(t testing.TB, configure ...func(*private) (config string)) *private {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server")
	require.NoError(t, err)
	path := amqpServer.path(t, found...)
	dir, owner := ownedDir(t, "rabbitmq")
	none := filepath.Join(dir, "none")
	p := &private{t: t, port: freePort(t), at: "amqp://guest:guest@127.0.0.1:%d/", crash: syscall.SIGKILL}
	between := freePort(t) // nodes
	config, port := none, fmt.Sprintf("RABBITMQ_NODE_PORT=%d", p.port)
	p.run = func(p *private) *child {
		return spawn(t, "minder", owner, "/usr/bin/env", "HOME="+dir, fmt.Sprintf("RABBITMQ_NODENAME=leat-%d@localhost", p.port),
			"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1", port, fmt.Sprintf("RABBITMQ_DIST_PORT=%d", between),
			"RABBITMQ_MNESIA_BASE="+dir, "RABBITMQ_LOG_BASE="+dir, "RABBITMQ_ENABLED_PLUGINS_FILE="+none, "RABBITMQ_CONF_ENV_FILE="+none,
			"RABBITMQ_CONFIG_FILE="+config, path)
	}
	p.probe = func(context.Context, int) error {
		conn, err := amqp.Dial(p.url())
		if err != nil {
			return err
		}
		return conn.Close()
	}
	for _, change := range configure {
		config, port = change(p), "RABBITMQ_NODE_PORT="
	}
	return p.start()
}

// ownedDir returns a directory that belongs to the one to run a server as, and that one's name: "" is whoever this is.
func ownedDir(t testing.TB, name string) (dir, owner string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "leat-"+name+"-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Getuid() != 0 {
		return dir, ""
	}
	uid, gid := ids(t, name)
	require.NoError(t, os.Chown(dir, uid, gid))
	return dir, name
}

// as makes a command run in a group of its own, as somebody else. "" is whoever this is.
func as(cmd *exec.Cmd, owner string) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if owner == "" {
		return nil
	}
	u, err := user.Lookup(owner)
	if err != nil {
		return err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	cmd.Dir = "/"
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return nil
}

func ids(t testing.TB, owner string) (uid, gid int) {
	t.Helper()
	u, err := user.Lookup(owner)
	require.NoError(t, err)
	uid, err = strconv.Atoi(u.Uid)
	require.NoError(t, err)
	gid, err = strconv.Atoi(u.Gid)
	require.NoError(t, err)
	return uid, gid
}
