package brokers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/leatbus/leat/brokers"
)

// authority makes certificates for a test's server and its client, which no other test trusts.
type authority struct {
	t      testing.TB
	dir    string // what a server reads: ca.pem, server.pem, server.key
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	roots  *x509.CertPool
	server tls.Certificate
	client tls.Certificate
}

func newAuthority(t testing.TB, dir string) *authority {
	t.Helper()
	a := &authority{t: t, dir: dir, roots: x509.NewCertPool()}
	a.key = newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "leat test authority"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	a.roots.AddCert(a.cert)
	a.write("ca.pem", "CERTIFICATE", der)
	a.server = a.issue("server", 2, x509.ExtKeyUsageServerAuth)
	a.client = a.issue("client", 3, x509.ExtKeyUsageClientAuth)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// issue makes a certificate for localhost and 127.0.0.1, and its files.
func (a *authority) issue(name string, serial int64, usage x509.ExtKeyUsage) tls.Certificate {
	key := newKey(a.t)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	require.NoError(a.t, err)
	a.write(name+".pem", "CERTIFICATE", der)
	bytes, err := x509.MarshalECPrivateKey(key)
	require.NoError(a.t, err)
	a.write(name+".key", "EC PRIVATE KEY", bytes)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name, kind string, der []byte) {
	require.NoError(a.t, os.WriteFile(a.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// demands is what a server wants of its clients: that they have a certificate.
func (a *authority) demands() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{a.server}, ClientCAs: a.roots, ClientAuth: tls.RequireAndVerifyClientCert}
}

// offers is what a client needs for that.
func (a *authority) offers() *tls.Config {
	return &tls.Config{RootCAs: a.roots, Certificates: []tls.Certificate{a.client}}
}

// access is how to get at a server: what it accepts that a server accepts, and what it refuses.
type access struct {
	url   string
	opts  brokers.Options
	wrong map[string]brokers.Options // by what is wrong with them
}

// requireAccess opens a broker with what is right, and sends a message around; and fails to with what is wrong, without
// telling anything.
func requireAccess(t *testing.T, a access) {
	t.Helper()
	said := new(record)
	a.opts.Logger, a.opts.Namespace = said.logger(), namespace()
	b, err := brokers.Open(t.Context(), a.url, a.opts)
	require.NoError(t, err)
	requireRoundTrip(t, b)
	require.NoError(t, b.Close())
	for wrong, opts := range a.wrong {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		opts.Logger, opts.Namespace = said.logger(), namespace()
		_, err := brokers.Open(ctx, a.url, opts)
		cancel()
		require.Error(t, err, wrong)
		requireDiscreet(t, err, wrong)
	}
	require.NotContains(t, strings.ToLower(said.String()), secretMark)
}

// requireRoundTrip sends a message to a new subscription.
func requireRoundTrip(t testing.TB, b *brokers.Broker) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	topic := b.Topic("round." + uuid.NewString())
	in, err := b.Subscriber().Subscribe(ctx, topic)
	require.NoError(t, err)
	require.NoError(t, b.Publisher().Publish(topic, message.NewMessage(uuid.NewString(), []byte("there"))))
	require.Equal(t, "there", take(t, in))
}

var (
	right = brokers.Credentials{User: secretUser, Password: secretPassword}
	wrong = brokers.Credentials{User: secretUser, Password: secretPassword + "not"}
)

// asking are credentials that are asked for.
func asking(c brokers.Credentials) brokers.Credentials {
	return brokers.Credentials{SASL: c.SASL, Ask: func(context.Context) (string, string, error) { return c.User, c.Password, nil }}
}

func protectedNATS(t testing.TB, ca *authority, change func(*server.Options)) *server.Server {
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true}
	if ca != nil {
		o.TLSConfig, o.TLSVerify = ca.demands(), true
	}
	change(o)
	return startNATS(t, o)
}

func hostOf(s *server.Server) string { return s.Addr().String() }

func TestNATSCredentials(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir())
	user := func(o *server.Options) { o.Username, o.Password = secretUser, secretPassword }
	for _, scheme := range []string{"nats", "tls", "jetstream", "jetstream+tls"} {
		t.Run(scheme+" with TLS and a user", func(t *testing.T) {
			t.Parallel()
			requireAccess(t, access{scheme + "://" + hostOf(protectedNATS(t, ca, user)),
				brokers.Options{TLS: ca.offers(), Credentials: right},
				map[string]brokers.Options{
					"the password":       {TLS: ca.offers(), Credentials: wrong},
					"no user":            {TLS: ca.offers()},
					"no certificate":     {TLS: &tls.Config{RootCAs: ca.roots}, Credentials: right},
					"the server's roots": {Credentials: right},
				}})
		})
	}
	t.Run("user in the URL", func(t *testing.T) {
		t.Parallel()
		requireAccess(t, access{url: "nats://" + secretUser + ":" + secretPassword + "@" + hostOf(protectedNATS(t, ca, user)), opts: brokers.Options{TLS: ca.offers()}})
	})
	t.Run("a user that is asked for", func(t *testing.T) {
		t.Parallel()
		requireAccess(t, access{"nats://" + hostOf(protectedNATS(t, ca, user)), brokers.Options{TLS: ca.offers(), Credentials: asking(right)},
			map[string]brokers.Options{"the password": {TLS: ca.offers(), Credentials: asking(wrong)}}})
	})
	token := func(o *server.Options) { o.Authorization = secretPassword }
	t.Run("token", func(t *testing.T) {
		t.Parallel()
		at := hostOf(protectedNATS(t, nil, token))
		requireAccess(t, access{"nats://" + at, brokers.Options{Credentials: brokers.Credentials{Token: secretPassword}},
			map[string]brokers.Options{"the token": {Credentials: brokers.Credentials{Token: secretUser}}, "none": {}}})
		requireAccess(t, access{url: "nats://" + secretPassword + "@" + at})
	})
	t.Run("nkey", func(t *testing.T) {
		t.Parallel()
		_, public, seed := seedFile(t, nkeys.CreateUser)
		at := hostOf(protectedNATS(t, nil, func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} }))
		_, _, another := seedFile(t, nkeys.CreateUser)
		requireAccess(t, access{"nats://" + at, brokers.Options{Credentials: brokers.Credentials{NATSNkey: seed}},
			map[string]brokers.Options{
				"the seed": {Credentials: brokers.Credentials{NATSNkey: another}},
				"the file": {Credentials: brokers.Credentials{NATSNkey: seed + ".not"}},
			}})
	})
	t.Run("creds", func(t *testing.T) {
		t.Parallel()
		url, creds := operatedNATS(t)
		requireAccess(t, access{url, brokers.Options{Credentials: brokers.Credentials{NATSCreds: creds}},
			map[string]brokers.Options{"the file": {Credentials: brokers.Credentials{NATSCreds: creds + ".not"}}, "none": {}}})
	})
}

// seedFile makes a key of NATS, and a file that has its seed.
func seedFile(t testing.TB, create func() (nkeys.KeyPair, error)) (pair nkeys.KeyPair, public, file string) {
	t.Helper()
	pair, err := create()
	require.NoError(t, err)
	public, err = pair.PublicKey()
	require.NoError(t, err)
	seed, err := pair.Seed()
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), "seed.nk")
	require.NoError(t, os.WriteFile(file, seed, 0o600))
	return pair, public, file
}

// operatedNATS is a server whose operator vouches for an account, and the account for a user, which has a file.
func operatedNATS(t testing.TB) (url, creds string) {
	t.Helper()
	operator, operatorID, _ := seedFile(t, nkeys.CreateOperator)
	account, accountID, _ := seedFile(t, nkeys.CreateAccount)
	user, userID, _ := seedFile(t, nkeys.CreateUser)
	claims := jwt.NewOperatorClaims(operatorID)
	accountJWT, err := jwt.NewAccountClaims(accountID).Encode(operator)
	require.NoError(t, err)
	userJWT, err := jwt.NewUserClaims(userID).Encode(account)
	require.NoError(t, err)
	seed, err := user.Seed()
	require.NoError(t, err)
	file, err := jwt.FormatUserConfig(userJWT, seed)
	require.NoError(t, err)
	creds = filepath.Join(t.TempDir(), "user.creds")
	require.NoError(t, os.WriteFile(creds, file, 0o600))
	accounts := &server.MemAccResolver{}
	require.NoError(t, accounts.Store(accountID, accountJWT))
	return "nats://" + hostOf(protectedNATS(t, nil, func(o *server.Options) {
		o.JetStream, o.TrustedOperators, o.AccountResolver = false, []*jwt.OperatorClaims{claims}, accounts
	})), creds
}

func TestKafkaCredentials(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir())
	for _, sasl := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(sasl, func(t *testing.T) {
			t.Parallel()
			url := "kafka+tls" + strings.TrimPrefix(fakeKafka(t, kfake.EnableSASL(), kfake.Superuser(sasl, secretUser, secretPassword), kfake.TLS(ca.demands())), "kafka")
			good, bad := right, wrong
			good.SASL, bad.SASL = sasl, sasl
			requireAccess(t, access{url, brokers.Options{TLS: ca.offers(), Credentials: good},
				map[string]brokers.Options{
					"the password":   {TLS: ca.offers(), Credentials: bad},
					"no certificate": {TLS: &tls.Config{RootCAs: ca.roots}, Credentials: good},
					"no roots":       {Credentials: good},
				}})
			requireAccess(t, access{url: url, opts: brokers.Options{TLS: ca.offers(), Credentials: asking(good)}})
		})
	}
	t.Run("user in the URL", func(t *testing.T) {
		t.Parallel()
		url := fakeKafka(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", secretUser, secretPassword))
		requireAccess(t, access{url: strings.Replace(url, "://", "://"+secretUser+":"+secretPassword+"@", 1)})
	})
}

// TestDialIsAskedForEachConnection: a proxy or a tunnel takes the place of the dialer.
func TestDialIsAskedForEachConnection(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"nats", "jetstream", "kafka"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			requireDial(t, scheme+"://", func() string {
				if scheme == "kafka" {
					return strings.TrimPrefix(fakeKafka(t), "kafka://")
				}
				return hostOf(embeddedNATS(t))
			}())
		})
	}
}

// requireDial opens a broker at a place that only the program's own dialer can find.
func requireDial(t testing.TB, scheme, at string, rest ...string) {
	t.Helper()
	var dials atomic.Int64
	b, err := brokers.Open(t.Context(), scheme+"hidden.invalid:1"+strings.Join(rest, ""), brokers.Options{Namespace: namespace(),
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			if address == "hidden.invalid:1" {
				address = at
			}
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			return struct{ net.Conn }{conn}, err // as a tunnel's, which is no socket
		}})
	require.NoError(t, err)
	for range 10 {
		requireRoundTrip(t, b)
	}
	require.NoError(t, b.Close())
	require.Positive(t, dials.Load())
	require.Less(t, dials.Load(), int64(80), "connections are not used again")
}

func TestCredentialsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := brokers.Open(t.Context(), "memory://", brokers.Options{Credentials: brokers.Credentials{SASL: "GUESS"}})
	require.ErrorContains(t, err, "SCRAM-SHA-256")
	for _, format := range []string{"%v", "%+v", "%#v"} {
		require.NotContains(t, strings.ToLower(fmt.Sprintf(format, brokers.Options{Credentials: right})), secretMark)
	}
}
