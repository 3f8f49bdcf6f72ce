package bus

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
)

// keyEscaped marks a message whose user metadata is percent-encoded.
const keyEscaped = "leat-escaped"

// Escape makes the values of the metadata in m that is not leat's own fit for
// every broker: some trim, fold or refuse header values with spaces, line breaks or
// anything but ASCII. If one of them has such, all are percent-encoded, and the
// message is marked; the codecs read it back. Else nothing is changed, and
// they can be read as they are. Links do it to what leaves the process; code that
// publishes what a codec has made has to call it. It changes m, and does nothing the second time.
// Keys are left as they are: use letters, digits, "-", "_" and ".".
func Escape(m *message.Message) {
	if _, done := m.Metadata[keyEscaped]; done || !needsEscape(m.Metadata) {
		return
	}
	for k, v := range m.Metadata {
		if !strings.HasPrefix(k, keyPrefix) {
			m.Metadata[k] = escape(v)
		}
	}
	m.Metadata[keyEscaped] = "1"
}

func needsEscape(md message.Metadata) bool {
	for k, v := range md {
		if strings.HasPrefix(k, keyPrefix) {
			continue
		}
		for i := range len(v) {
			if c := v[i]; c <= ' ' || c >= 0x7f {
				return true
			}
		}
	}
	return false
}

// unescapeMetadata undoes Escape in place.
func unescapeMetadata(md message.Metadata) error {
	if _, escaped := md[keyEscaped]; !escaped {
		return nil
	}
	for k, v := range md {
		if strings.HasPrefix(k, keyPrefix) {
			continue
		}
		plain, err := unescape(v)
		if err != nil {
			return fmt.Errorf("metadata %s: %w", k, err)
		}
		md[k] = plain
	}
	delete(md, keyEscaped)
	return nil
}

// escape protects a metadata value from transports that trim or fold header
// values: everything but printable ASCII without space and % is
// percent-encoded. Most values need nothing and cost one scan.
func escape(s string) string {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '%' {
			return url.PathEscape(s)
		}
	}
	return s
}

func unescape(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 {
		return s, nil
	}
	return url.PathUnescape(s)
}
