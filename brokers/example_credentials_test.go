package brokers_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/leatbus/leat/brokers"
)

// A broker that only takes TLS, from clients that have a certificate of the company's authority and a password.
func ExampleOptions() {
	ca, err := os.ReadFile("ca.pem")
	if err != nil {
		return
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	mine, err := tls.LoadX509KeyPair("client.pem", "client.key")
	if err != nil {
		return
	}
	b, err := brokers.Open(context.Background(), "amqps://rabbit.example.com/orders", brokers.Options{
		TLS:         &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{mine}},
		Credentials: brokers.Credentials{User: "orders", Password: os.Getenv("RABBIT_PASSWORD")},
	})
	if err != nil {
		return
	}
	defer func() { _ = b.Close() }()
}

// A password that changes: it is asked for with each connection.
func ExampleCredentials() {
	b, err := brokers.Open(context.Background(), "postgres://db.example.com/orders?sslmode=verify-full", brokers.Options{
		Credentials: brokers.Credentials{Ask: func(ctx context.Context) (user, password string, err error) {
			password, err = vault(ctx, "db/orders")
			return "orders", password, err
		}},
	})
	if err != nil {
		return
	}
	defer func() { _ = b.Close() }()
}

// vault stands for wherever passwords come from.
func vault(context.Context, string) (string, error) { return "", nil }
