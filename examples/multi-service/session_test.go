package main_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/leatbus/leat/examples/internal/program"
)

// session is what is piped in, and what a user sees of it.
type session struct {
	name   string
	stdin  string
	stdout string
	stderr string
	status int
}

const table = `#  ID              DESCRIPTION      REQUEST                   RESPONSE  WHERE
1  greet.farewell  Say goodbye      string                    string    root
2  greet.hello     Say hello        string                    string    root
3  math.add        Add b to a       {a: integer, b: integer}  integer   worker
4  math.mul        Multiply a by b  {a: integer, b: integer}  integer   worker
5  math.sub        Take b from a    {a: integer, b: integer}  integer   worker
`

func calls() []session {
	return []session{
		{name: "one line", stdin: "call math.add {\"a\":7,\"b\":11}\nquit\n", stdout: "18\n"},
		{name: "by number", stdin: "call 5 {\"a\":7,\"b\":11}", stdout: "-4\n"},
		{name: "a string", stdin: `call greet.hello "Ada"`, stdout: "\"Hello, Ada!\"\n"},
		{name: "a string as it is", stdin: "call greet.farewell Ada Lovelace", stdout: "\"Goodbye, Ada Lovelace!\"\n"},
		{name: "a number where a string is due", stdin: "call greet.hello 42", stdout: "\"Hello, 42!\"\n"},
		{name: "picked, field by field", stdin: "call\n4\n6\n7\n", stdout: "42\n"},
		{name: "big integers are exact", stdin: "call math.sub\n9007199254740993\n-1\n", stdout: "9007199254740994\n"},
		{name: "a string asked for", stdin: "call greet.hello\nAda \"the\" First\n", stdout: "\"Hello, Ada \\\"the\\\" First!\"\n"},
		{name: "windows line ends", stdin: "call math.add\r\n1\r\n2\r\nquit\r\n", stdout: "3\n"},
		{
			name: "missing field", stdin: `call math.add {"a":1}`, status: 1,
			stderr: "error: line 1: invalid request: missing field \"b\" (invalid_request)\n  try: call math.add {\"a\":1,\"b\":1}\n",
		},
		{
			name: "failure of the handler", stdin: `call math.mul {"a":9223372036854775807,"b":2}`, status: 1,
			stderr: "error: line 1: the result, 18446744073709551614, does not fit in 64 bits (invalid_request)\n" +
				"  try: call math.mul {\"a\":1,\"b\":1}\n",
		},
		{
			name: "not JSON", stdin: "call math.add {", status: 1,
			stderr: "error: line 1: not JSON: { (unexpected end of JSON input)\n  try: call math.add {\"a\":1,\"b\":1}\n",
		},
		{
			name: "goes on after a failure", stdin: "call math.ad {\"a\":1,\"b\":2}\ncall math.add {\"a\":1,\"b\":2}\n", stdout: "3\n", status: 1,
			stderr: "error: line 1: no such command: \"math.ad\"\n  try: call math.add {\"a\":1,\"b\":2}\n",
		},
		{
			name: "a bad answer takes its neighbours along", stdin: "call math.add\none\n2\ncall math.add {\"a\":1,\"b\":2}\n", stdout: "3\n", status: 1,
			stderr: "error: line 1: a: expected integer, as in 1; got one\n",
		},
		{
			name: "no answer", stdin: "call math.add\n1\n", status: 1,
			stderr: "error: line 1: the input ended where b was due\n",
		},
	}
}

func words() []session {
	return []session{
		{name: "nothing"},
		{name: "blank lines and comments", stdin: "\n  \n# call nothing\nexit\nlist\n"},
		{name: "list", stdin: "list", stdout: table},
		{
			name:   "events come before what follows",
			stdin:  "listen user.*\nemit user.created {\"name\":\"Ada\"}\nemit other.created\nlisten\n",
			stdout: "listening to user.*\nevent user.created {\"name\":\"Ada\"}\nemitted user.created\nemitted other.created\nlistening to user.*\n",
		},
		{
			name: "no pattern", stdin: "listen", status: 1,
			stderr: "error: line 1: listen needs a pattern\n  try: listen >\n",
		},
		{
			name: "no event", stdin: "emit", status: 1,
			stderr: "error: line 1: emit needs the ID of an event\n  try: emit user.created {\"name\":\"Ada\"}\n",
		},
		{
			name: "bad payload", stdin: "emit user.created Ada", status: 1,
			stderr: "error: line 1: not JSON: Ada (invalid character 'A' looking for beginning of value)\n" +
				"  try: emit user.created {\"name\":\"Ada\"}\n",
		},
		{
			name: "a slip", stdin: "lsit", status: 1,
			stderr: "error: line 1: no such word: \"lsit\"\n  try: list\n",
		},
		{
			name: "call forgotten", stdin: `math.add {"a":1,"b":2}`, status: 1,
			stderr: "error: line 1: no such word: \"math.add\"\n  try: call math.add {\"a\":1,\"b\":2}\n",
		},
		{
			name: "nonsense", stdin: "\x00\xff\x1b[A {{{ ;; rm -rf\n", status: 1,
			stderr: "error: line 1: no such word: \"\\x00\\xff\\x1b[A\"\n  try: help\n",
		},
		{
			name: "too much", stdin: "stats now", status: 1,
			stderr: "error: line 1: stats takes nothing after it\n  try: stats\n",
		},
	}
}

func TestSession(t *testing.T) {
	t.Parallel()
	binary := program.Build(t)
	for _, s := range append(calls(), words()...) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			r := program.Run(t, binary, program.Options{Stdin: s.stdin})
			assert.Equal(t, s.stdout, r.Stdout)
			assert.Equal(t, s.stderr, r.Stderr)
			assert.Equal(t, s.status, r.Status)
		})
	}
}

// A calculation on worker is heard on root, however the session ends.
func TestEventOfAnotherRegistry(t *testing.T) {
	t.Parallel()
	r := program.Run(t, program.Build(t), program.Options{Stdin: "listen math.*\ncall math.add {\"a\":7,\"b\":11}\n"})
	assert.ElementsMatch(t, []string{"listening to math.*", "18", `event math.computed {"command":"math.add","result":18}`}, r.Lines())
	assert.Zero(t, r.Status)
}

func TestStatsAndHelp(t *testing.T) {
	t.Parallel()
	r := program.Run(t, program.Build(t), program.Options{Stdin: "emit a.b\nstats\nhelp\nhelp call\n"})
	for row, counts := range map[string]string{ // of root and of worker
		"commands served here": `2 +3`,
		"events emitted":       `1 +0`,
		"events received":      `0 +1`,
	} {
		assert.Regexp(t, `(?m)^`+row+` +`+counts+`$`, r.Stdout)
	}
	for _, word := range []string{"list", "call", "emit", "listen", "stats", "help", "quit"} {
		assert.Contains(t, r.Stdout, "\n"+word+" ")
	}
	assert.Contains(t, r.Stdout, `call math.add {"a":7,"b":11}`)
	assert.Empty(t, r.Stderr)
}

// What the page about the example says to type.
func TestFromTheRepositoryRoot(t *testing.T) {
	t.Parallel()
	r := program.Run(t, "go", program.Options{Dir: "../..", Stdin: "call math.add {\"a\":7,\"b\":11}\nquit\n"}, "run", "./examples/multi-service")
	assert.Equal(t, "18\n", r.Stdout)
	assert.Zero(t, r.Status)
}

func TestMain(m *testing.M) { program.Main(m) }

func TestUsage(t *testing.T) {
	t.Parallel()
	program.Usage(t, program.Build(t), "multi-service")
}
