package brokers

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
)

// Credentials name and authenticate the user that connects to a broker. A broker ignores the fields that it has no use for. The zero value is
// the user of the URL, if that has one.
type Credentials struct {
	// User and Password go before those of the URL: for NATS, Redis (6 or newer: an ACL user; "" is the
	// default user), RabbitMQ, Postgres, Kafka. They need no escaping here. Default "".
	User, Password string
	// Ask, where it is set, is called for a user and a password each time that a client connects, also
	// when it reconnects: for passwords that change, and for tokens in their place. It goes before User, has to
	// return soon (ctx ends the attempt to connect), and may be called from many goroutines. An error fails the
	// attempt, which is made again later. Kafka with PLAIN asks once for each subscription. Default nil.
	Ask func(ctx context.Context) (user, password string, err error)
	// Token is NATS' token: what a URL with a user and no password has. Default "".
	Token string
	// NATSCreds is the path of a file with a user's JWT and seed, as `nsc generate creds` writes it. It is read
	// at each connect. Default "".
	NATSCreds string
	// NATSNkey is the path of a file with the seed of a user's nkey. Default "".
	NATSNkey string
	// SASL names the mechanism: for Kafka "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512" or "OAUTHBEARER" (the token is
	// the password), for RabbitMQ "PLAIN" or "EXTERNAL" (the client certificate of Options.TLS names the user).
	// Default "PLAIN".
	SASL string
}

// String shows nothing.
func (Credentials) String() string { return "brokers.Credentials{…}" }

// GoString shows nothing.
func (c Credentials) GoString() string { return c.String() }

// Mechanisms of SASL.
const (
	saslPlain    = "PLAIN"
	saslExternal = "EXTERNAL"
	saslSCRAM256 = "SCRAM-SHA-256"
	saslSCRAM512 = "SCRAM-SHA-512"
	saslOAuth    = "OAUTHBEARER"
)

func (c Credentials) check() error {
	switch c.SASL {
	case "", saslPlain, saslExternal, saslSCRAM256, saslSCRAM512, saslOAuth:
		return nil
	}
	return fmt.Errorf("Credentials.SASL %q: want %s, %s, %s, %s or %s", c.SASL, saslPlain, saslExternal, saslSCRAM256, saslSCRAM512, saslOAuth)
}

// login is the user that connects: of the Options, else of the URL.
type login struct {
	user, password string
	ask            func(ctx context.Context) (user, password string, err error) // nil where it stays the same
	given          bool
	secrets        *secrets
	failed         func(error) // Ask has
}

func newLogin(a address, s *shared) login {
	c := s.opts.Credentials
	l := login{secrets: s.secrets, ask: c.Ask, failed: func(err error) {
		s.opts.Logger.Warn("no credentials, not connected", "error", err)
	}}
	l.user, l.password, l.given = a.login()
	if c.User != "" || c.Password != "" {
		l.user, l.password, l.given = c.User, c.Password, true
	}
	l.given = l.given || c.Ask != nil
	s.secrets.add([]string{c.User}, []string{c.Password, c.Token})
	return l
}

// get returns the user and the password for a connection that is made now.
func (l login) get(ctx context.Context) (user, password string, err error) {
	if l.ask == nil {
		return l.user, l.password, nil
	}
	user, password, err = l.ask(ctx)
	l.secrets.addAsked(user, password)
	if err != nil {
		err = fmt.Errorf("ask for credentials: %w", err)
		l.failed(err)
	}
	return user, password, err
}

// soon is get for clients that have no ctx to give. An error is an empty user.
func (l login) soon() (user, password string) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	user, password, err := l.get(ctx)
	if err != nil {
		return "", ""
	}
	return user, password
}

// tls returns what to talk TLS with to a host of the URL; nil where Options say nothing of it.
func (s *shared) tls(host string) *tls.Config {
	if s.opts.TLS == nil {
		return nil
	}
	config := s.opts.TLS.Clone()
	if config.ServerName == "" {
		u := url.URL{Host: host}
		config.ServerName = u.Hostname()
	}
	return config
}

// host returns the only one, or "localhost", which is what clients take then.
func (a address) host() string {
	if len(a.hosts) > 0 {
		if u := (&url.URL{Host: a.hosts[0]}); u.Hostname() != "" {
			return a.hosts[0]
		}
	}
	return "localhost"
}

// dialFunc is Options.Dial.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func dialNet(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
}
