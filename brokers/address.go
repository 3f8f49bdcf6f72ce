package brokers

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// address is the URL of a broker, taken apart here and nowhere else: clients are given the parts, so
// that no client's error can quote a URL with a password in it.
type address struct {
	scheme string        // lower case
	user   *url.Userinfo // nil where the URL has none
	hosts  []string      // each host, host:port or :port; empty where the URL has none
	path   string        // decoded, without its first slash
	query  url.Values
}

// Errors of parseAddress. None quotes the URL.
var (
	errNoHost     = errors.New("no host in the URL")
	errUserInfo   = errors.New("malformed URL: what has a meaning in a URL (/ ? # @ %) is percent-encoded in a user, a password and a parameter")
	errHosts      = errors.New("malformed URL: want host, host:port or [ip6]:port, with commas between several")
	errPath       = errors.New("malformed URL: the path has a bad escape")
	errQuery      = errors.New("malformed URL: the parameters have a bad escape or a semicolon")
	errOneHost    = errors.New("more than one host in the URL")
	errParameter  = errors.New("a parameter of the URL is unknown")
	errNoPath     = errors.New("the URL has a path")
	errDBNumber   = errors.New("the path of the URL is not the number of a database")
	errParameters = errors.New("the URL has parameters")
)

var (
	legalScheme = regexp.MustCompile(`^[a-z][a-z0-9+.-]{0,30}$`)
	legalHost   = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+(%25[0-9A-Za-z._-]+)?\]|[0-9A-Za-z._-]*)(:[0-9]{1,5})?$`)
)

// parseAddress takes a URL apart. Where that is ambiguous it refuses: a password with an @ or a slash
// that is not escaped would end up in the host, and in every error that names the host. With an error
// the address has no more than the scheme, and not even that where it could be something else.
func parseAddress(raw string) (address, error) {
	scheme, rest, found := strings.Cut(raw, "://")
	scheme = strings.ToLower(scheme)
	if !found || !legalScheme.MatchString(scheme) {
		return address{}, ErrUnknownScheme
	}
	none := address{scheme: scheme}
	rest = oneUser(scheme, rest)
	authority, tail := rest, ""
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority, tail = rest[:end], rest[end:]
	}
	if strings.ContainsAny(tail, "@#") || strings.Count(authority, "@") > 1 {
		return none, errUserInfo
	}
	a := none
	info, hosts, named := strings.Cut(authority, "@")
	if !named {
		info, hosts = "", authority
	}
	if named {
		var err error
		if a.user, err = userinfo(info); err != nil {
			return none, err
		}
	}
	if hosts != "" {
		a.hosts = strings.Split(hosts, ",")
	}
	for _, host := range a.hosts {
		if host == "" || !legalHost.MatchString(host) {
			return none, errHosts
		}
	}
	path, query, _ := strings.Cut(tail, "?")
	var err error
	if a.path, err = url.PathUnescape(strings.TrimPrefix(path, "/")); err != nil {
		return none, errPath
	}
	if a.query, err = url.ParseQuery(query); err != nil {
		return none, errQuery
	}
	return a, nil
}

// oneUser lets a list repeat the scheme, and the user, in front of each host, as NATS' tools write it.
func oneUser(scheme, rest string) string {
	rest = strings.ReplaceAll(rest, ","+scheme+"://", ",")
	if info, _, found := strings.Cut(rest, "@"); found && info != "" {
		rest = strings.ReplaceAll(rest, ","+info+"@", ",")
	}
	return rest
}

func userinfo(raw string) (*url.Userinfo, error) {
	user, password, both := strings.Cut(raw, ":")
	user, err := url.PathUnescape(user)
	if err != nil {
		return nil, errUserInfo
	}
	if !both {
		return url.User(user), nil
	}
	if password, err = url.PathUnescape(password); err != nil {
		return nil, errUserInfo
	}
	return url.UserPassword(user, password), nil
}

// String is what errors show: neither user, path nor parameters.
func (a address) String() string {
	if a.scheme == "" {
		return "…"
	}
	at := ""
	if a.user != nil {
		at = "…@"
	}
	return a.scheme + "://" + at + strings.Join(a.hosts, ",")
}

// url is what a client's own parser gets: with another scheme, and without the user.
func (a address) url(scheme string) string {
	u := url.URL{Scheme: scheme, Host: strings.Join(a.hosts, ","), RawQuery: a.query.Encode()}
	if a.path != "" {
		u.Path = "/" + a.path
	}
	return u.String()
}

// login returns the user and the password; given is false where the URL has neither.
func (a address) login() (user, password string, given bool) {
	if a.user == nil {
		return "", "", false
	}
	password, _ = a.user.Password()
	user = a.user.Username()
	return user, password, user != "" || password != ""
}

// plain refuses a URL with more than hosts.
func (a address) plain() error {
	switch {
	case len(a.hosts) == 0 || slices.ContainsFunc(a.hosts, func(h string) bool { return h[0] == ':' }):
		return errNoHost
	case a.path != "":
		return errNoPath
	case len(a.query) > 0:
		return errParameters
	}
	return nil
}

// single refuses a URL with several hosts, with a user for none, or with a parameter that is not in the list.
func (a address) single(parameters []string) error {
	switch {
	case len(a.hosts) > 1:
		return errOneHost
	case len(a.hosts) == 0 && a.user != nil:
		return errNoHost
	}
	for name := range a.query {
		if !slices.Contains(parameters, name) {
			return errParameter
		}
	}
	return nil
}

// Parameters of the URL that a client understands and that hold no secret.
var (
	redisParameters = []string{"db", "protocol", "client_name", "max_retries", "min_retry_backoff", "max_retry_backoff",
		"dial_timeout", "read_timeout", "write_timeout", "pool_fifo", "pool_size", "pool_timeout", "min_idle_conns",
		"max_idle_conns", "max_active_conns", "max_concurrent_dials", "conn_max_idle_time", "idle_timeout",
		"conn_max_lifetime", "max_conn_age", "conn_max_lifetime_jitter", "skip_verify"}
	rabbitParameters = []string{"heartbeat", "connection_timeout", "channel_max", "certfile", "keyfile", "cacertfile",
		"server_name_indication", "auth_mechanism"}
	// For Postgres any other is allowed too, and is not shown: the server may know it.
	postgresParameters = []string{"host", "port", "database", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslsni",
		"sslnegotiation", "connect_timeout", "application_name", "target_session_attrs", "search_path", "options",
		"statement_timeout", "lock_timeout", "timezone", "TimeZone", "client_encoding", "service", "servicefile",
		"passfile", "krbsrvname", "krbspn", "channel_binding", "default_query_exec_mode", "statement_cache_capacity",
		"description_cache_capacity", "min_protocol_version", "max_protocol_version"}
)

// secrets returns the words of the URL that must not be shown.
func (a address) secrets() (names, words []string) {
	user, password, _ := a.login()
	names, words = []string{user}, []string{password}
	if a.user != nil {
		words = append(words, a.user.String())
	}
	for name, values := range a.query {
		if slices.Contains(redisParameters, name) || slices.Contains(rabbitParameters, name) || slices.Contains(postgresParameters, name) {
			continue
		}
		names = append(names, name)
		words = append(words, values...)
	}
	return names, words
}
