package brokers

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// naming says which names a broker takes as they are.
type naming struct {
	legal *regexp.Regexp
	max   int // bytes
}

var (
	// plainNames are legal everywhere but on Kafka: tokens of letters, digits, _ and -,
	// with single dots between them.
	plainNames = naming{regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`), 180}
	// dashNames lack the underscore: Kafka refuses a.b where there is an a_b.
	dashNames = naming{regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$`), 180}

	hashed  = regexp.MustCompile(`-h[0-9a-f]{32}$`)
	illegal = regexp.MustCompile(`[^A-Za-z0-9]+`)
)

// keeps reports whether the name can be used as it is.
func (n naming) keeps(name string) bool { return len(name) <= n.max && n.legal.MatchString(name) }

// topic returns name where it is legal, and else what can be read of it with a
// hash of the whole. A legal name that looks like one with a hash gets one too,
// so that no two names get the same topic.
func (n naming) topic(name string) string {
	if n.keeps(name) && !hashed.MatchString(name) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	readable := strings.Trim(illegal.ReplaceAllString(name, "-"), "-")
	if len(readable) > 40 {
		readable = strings.TrimRight(readable[:40], "-")
	}
	if readable == "" {
		readable = "x"
	}
	return readable + "-h" + hex.EncodeToString(sum[:16])
}

func (n naming) check(topic string) error {
	if !n.keeps(topic) {
		return fmt.Errorf("%w %q: use Broker.Topic", ErrIllegalTopic, topic)
	}
	return nil
}

// part quotes what could be mistaken for the dot between two parts.
func part(s string) string {
	return strings.NewReplacer("%", "%25", ".", "%2E").Replace(s)
}
