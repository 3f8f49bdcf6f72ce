package conformance_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/leatbus/leat/internal/conformance"
)

// write makes a directory of vectors, by path.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

// What the faulty scripts have in common.
const (
	setup    = `"setup":{"registry":{"localCommands":[{"id":"one","returns":1},"nap"],"localEventListeners":["rain"]},"peers":[{"channelId":"p"},{"channelId":"q"}]}`
	ask      = `{"direction":"inbound","from":"p","message":{"id":"1","type":"execute.command.request","commandId":"one"}},`
	rain     = `{"direction":"inbound","from":"p","message":{"id":"1","type":"event","eventId":"rain","payload":{"mm":1}}},`
	call     = `{"direction":"local-call","trigger":{"executeCommand":["one"]}},`
	callNap  = `{"direction":"local-call","trigger":{"executeCommand":"nap"}},`
	callNone = `{"direction":"local-call","trigger":{"executeCommand":{"id":"none"}}},`
)

// faults are scripts that must fail, and why.
var faults = map[string]struct{ steps, reason string }{
	"nothing sent":         {`{"direction":"outbound","to":"p","expected":{}}`, "step 1 (outbound to p): nothing was sent"},
	"other value":          {ask + `{"direction":"outbound","to":"p","expected":{"response":{"result":2}}}`, "response.result: want 2, got 1"},
	"other channel":        {ask + `{"direction":"assert-no-outbound","to":"p"}`, "want nothing, got {"},
	"any channel":          {rain + `{"direction":"assert-no-outbound"}`, `channel "q": want nothing`},
	"missing member":       {ask + `{"direction":"outbound","to":"p","expected":{"response":{"error":null}}}`, "response.error: want null, got nothing"},
	"not absent":           {ask + `{"direction":"outbound","to":"p","expected":{"id":{"$match":"absent"}}}`, "id: want absent"},
	"no uuid":              {ask + `{"direction":"outbound","to":"p","expected":{"thid":{"$match":"uuid"}}}`, `thid: want uuid, got "1"`},
	"no string":            {ask + `{"direction":"outbound","to":"p","expected":{"response":{"ok":{"$match":"any-string"}}}}`, "want any-string, got true"},
	"nothing to capture":   {ask + `{"direction":"outbound","to":"p","expected":{"x":{"$capture":"x"}}}`, "x: want something to capture as x"},
	"unknown reference":    {ask + `{"direction":"outbound","to":"p","expected":{"id":{"$ref":"x"}}}`, `refers to "x"`},
	"unknown ref to send":  {`{"direction":"inbound","from":"p","message":{"id":{"$ref":"x"}}}`, `refers to "x"`},
	"unknown matcher":      {ask + `{"direction":"outbound","to":"p","expected":{"id":{"$like":"x"}}}`, "does not understand the matcher"},
	"unknown kind":         {ask + `{"direction":"outbound","to":"p","expected":{"id":{"$match":"number"}}}`, "does not understand the matcher"},
	"matcher with more":    {ask + `{"direction":"outbound","to":"p","expected":{"id":{"$match":"uuid","not":1}}}`, "does not understand a matcher with other members"},
	"matcher to send":      {`{"direction":"inbound","from":"p","message":{"id":{"$match":"uuid"}}}`, "does not understand a matcher in what is to be sent"},
	"unordered, too few":   {listed + `{"direction":"outbound","to":"p","expected":{"commands":{"$unordered":[{"id":"one"}]}}}`, "want an array of 1, in any order"},
	"unordered, others":    {listed + `{"direction":"outbound","to":"p","expected":{"commands":{"$unordered":[{"id":"one"},{"id":"one"}]}}}`, "in any order"},
	"ordered":              {listed + `{"direction":"outbound","to":"p","expected":{"commands":[{"id":"one"},{"id":"nap"}]}}`, `commands[0].id: want "one", got "nap"`},
	"wrong result":         {call + `{"direction":"local-result","expected":"1"}`, `value: want "1", got 1`},
	"no error":             {call + `{"direction":"local-result","expectedError":{"code":"not_found"}}`, "want an error"},
	"unexpected error":     {callNone + `{"direction":"local-result"}`, "got the error not_found"},
	"other code":           {callNone + `{"direction":"local-result","expectedError":{"code":"timeout"}}`, `code: want "timeout", got "not_found"`},
	"other code, short":    {callNone + `{"direction":"local-result","expectedError":"timeout"}`, `code: want "timeout", got "not_found"`},
	"result for nothing":   {callNap + `{"direction":"local-result","expected":{}}`, "want an object, got nothing"},
	"no call":              {`{"direction":"local-result"}`, "has made no call"},
	"result and error":     {call + `{"direction":"local-result","expected":1,"expectedError":{}}`, "has a result and an error"},
	"too few invocations":  {`{"direction":"assert-local-listener","eventId":"rain","invocations":1}`, "want 1 invocations, got 0"},
	"too many invocations": {rain + `{"direction":"assert-local-listener","eventId":"rain","invocations":0}`, "want 0 invocations, got 1"},
	"other payload":        {rain + `{"direction":"assert-local-listener","eventId":"rain","invocations":1,"lastPayload":{"mm":2}}`, "last payload: mm: want 2, got 1"},
	"payload of nothing":   {`{"direction":"assert-local-listener","eventId":"rain","lastPayload":null}`, "no invocation"},
	"no such listener":     {`{"direction":"assert-local-listener","eventId":"snow","invocations":0}`, `no listener of "snow"`},
	"asserts nothing":      {`{"direction":"assert-local-listener","eventId":"rain"}`, "asserts nothing"},
	"no number":            {`{"direction":"assert-local-listener","eventId":"rain","invocations":"1","lastPayload":1}`, "number of invocations"},
	"no such channel":      {`{"direction":"inbound","from":"r","message":{}}`, `no channel "r"`},
	"closed channel":       {`{"direction":"close-channel","channel":"p"},` + ask + `{"direction":"assert-no-outbound"}`, "the channel is closed"},
	"closed twice":         {`{"direction":"close-channel","channel":"p"},{"direction":"close-channel","channel":"p"}`, "the channel is closed"},
	"two channels":         {`{"direction":"close-channel","channel":"p","from":"q"}`, "more than one of"},
	"unknown direction":    {`{"direction":"sideways"}`, `does not understand the direction "sideways"`},
	"unknown member":       {`{"direction":"assert-no-outbound","to":"p","within":5}`, `does not understand the assert-no-outbound step: member "within"`},
	"no direction":         {`{"to":"p"}`, `has no "direction"`},
	"no message":           {`{"direction":"inbound","from":"p"}`, `has no "message"`},
	"no object":            {`"inbound"`, "is not an object"},
	"unknown trigger":      {`{"direction":"local-call","trigger":{"unregister":["one"]}}`, `does not understand the trigger "unregister"`},
	"two triggers":         {`{"direction":"local-call","trigger":{"listCommands":[],"emitEvent":["x"]}}`, "does not understand the trigger"},
	"too many arguments":   {`{"direction":"local-call","trigger":{"executeCommand":["one",1,2]}}`, "3 arguments"},
	"odd arguments":        {`{"direction":"local-call","trigger":{"executeCommand":7}}`, "does not understand the arguments"},
	"unknown argument":     {`{"direction":"local-call","trigger":{"executeCommand":{"id":"one","ttl":1}}}`, `member "ttl"`},
	"odd ID":               {`{"direction":"local-call","trigger":{"emitEvent":[1]}}`, "does not understand the ID 1"},
	"no steps":             {``, "has no steps"},
}

// TestBehaviourFails: a runner that lets things pass proves nothing.
func TestBehaviourFails(t *testing.T) {
	t.Parallel()
	for name, tt := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, map[string]string{"behavior/v.json": `{` + setup + `,"steps":[` + tt.steps + `]}`})
			fails(t, dir, tt.reason)
		})
	}
}

const listed = `{"direction":"inbound","from":"p","message":{"id":"1","type":"list.commands.request"}},`

// fails loads the one vector of the directory and expects it to fail.
func fails(t *testing.T, dir, reason string) {
	t.Helper()
	vectors, err := conformance.Load(dir)
	require.NoError(t, err)
	require.Len(t, vectors, 1)
	for _, w := range []conformance.Wire{conformance.OverJSON(), conformance.OverBinary()} {
		synctest.Test(t, func(t *testing.T) { // what never comes is waited for in no time
			require.ErrorContains(t, vectors[0].Run(t.Context(), w), reason)
		})
	}
}

func TestSetupFails(t *testing.T) {
	t.Parallel()
	for setup, reason := range map[string]string{
		`{"registry":{"requestTtl":5}}`:           `setup.registry: member "requestTtl"`,
		`{"registry":[]}`:                         "is not an object",
		`{"clock":1}`:                             `setup: member "clock"`,
		`{"peers":{}}`:                            "for an array",
		`{"peers":[{}]}`:                          `has no "channelId"`,
		`{"peers":["p","p"]}`:                     "channel ID is taken",
		`{"peers":[{"channelId":"p","speed":1}]}`: `member "speed"`,
		`{"peers":[{"channelId":"p","commandImplementations":[{"id":"x","throws":1}]}]}`: `member "throws"`,
		`{"registry":{"localCommands":[{"id":"x"},{"id":"x"}]}}`:                         "registered already",
		`{"registry":{"localCommands":[{"id":"x","returns":{"$expr":"request.a +"}}]}}`:  "it ends too early",
		`{"registry":{"localCommands":[{"id":"x","returns":{"$expr":"eval(1)"}}]}}`:      `unexpected "eval"`,
		`{"registry":{"localCommands":[{"id":"x","returns":{"y":{"$expr":1}}}]}}`:        "does not understand the expression",
		`{"registry":{"localCommands":[{"id":"x","returns":{"$match":"uuid"}}]}}`:        "as what a command returns",
		`{"registry":{"localCommands":[{"id":"x","schema":{"request":7}}]}}`:             "request schema",
	} {
		t.Run(setup, func(t *testing.T) {
			t.Parallel()
			dir := write(t, map[string]string{"behavior/v.json": `{"setup":` + setup + `,"steps":[{"direction":"assert-no-outbound"}]}`})
			fails(t, dir, reason)
		})
	}
}

func TestEncodingFails(t *testing.T) {
	t.Parallel()
	const schema = `{"type":"object","required":["colour"],"properties":{"colour":{"$ref":"part.json"}}}`
	const message = `"message":{"id":"1","type":"event","eventId":"rain","payload":{"mm":1}},`
	const text = `"json":"{\"id\":\"1\",\"type\":\"event\",\"eventId\":\"rain\",\"payload\":{\"mm\":1}}"`
	for vector, reason := range map[string]string{
		`{` + message + text + `,"cbor":"a0"}`: `member "cbor"`,
		`{` + text + `}`:                       `has no "message"`,
		`{` + message + `"json":{}}`:           "has no text",
		`{` + message + `"json":"{"}`:          "decode",
		`{` + message + strings.Replace(text, `1}}"`, `1.000000000000000000001}}"`, 1) + `}`: "json is not the message",
		`{` + message + strings.Replace(text, `{\"mm\":1}`, `null`, 1) + `}`:                 "json is not the message",
		`{` + message + text + `,"schema":"none.json"}`:                                      `no schema "none.json"`,
		`{` + message + text + `,"schema":"thing.json"}`:                                     "does not fit the schema",
		`{` + message + text + `,"schema":"broken.json"}`:                                    `no schema "file:///schemas/nowhere.json"`,
		`{` + text + `,"invalid":true}`:                                                      "takes what it must refuse",
		`{` + text + `,"invalid":false}`:                                                     "is invalid, and is not",
		`{` + message + text + `,"json":""}`:                                                 "duplicate",
		`[`:                                                                                  "truncated JSON",
	} {
		t.Run(vector, func(t *testing.T) {
			t.Parallel()
			fails(t, write(t, map[string]string{
				"encoding/v.json":     vector,
				"schemas/thing.json":  schema,
				"schemas/part.json":   `{"type":"string"}`,
				"schemas/broken.json": `{"properties":{"id":{"$ref":"nowhere.json"}}}`,
			}), reason)
		})
	}
}

// TestEncodingSchemas: schemas find each other by file name, and by $id.
func TestEncodingSchemas(t *testing.T) {
	t.Parallel()
	vector := func(schema string) string {
		return `{"schema":"` + schema + `","message":{"id":"1","type":"event","eventId":"rain"},"json":"{\"type\":\"event\",\"id\":\"1\",\"eventId\":\"rain\"}"}`
	}
	vectors, err := conformance.Load(write(t, map[string]string{
		"encoding/a.json":      vector("by-name.json"),
		"encoding/b/deep.json": vector("by-id.json"),
		"encoding/c.json":      vector("https://schemas.invalid/v1/by-id.json"),
		"encoding/README.md":   "not a vector",
		"schemas/by-name.json": `{"required":["eventId"],"properties":{"id":{"$ref":"text.json"}}}`,
		"schemas/by-id.json":   `{"$id":"https://schemas.invalid/v1/by-id.json","properties":{"id":{"$ref":"other.json"},"type":{"const":"event"}}}`,
		"schemas/other.json":   `{"$id":"https://schemas.invalid/v1/other.json","type":"string","minLength":1}`,
		"schemas/text.json":    `{"type":"string"}`,
	}))
	require.NoError(t, err)
	require.Len(t, vectors, 3)
	for _, v := range vectors {
		require.NoError(t, v.Run(t.Context(), conformance.OverBinary()), v.Name)
	}
}

func TestLoadFails(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]string{
		"no such":    filepath.Join(t.TempDir(), "nowhere"),
		"empty":      t.TempDir(),
		"no vectors": write(t, map[string]string{"encoding/README.md": "", "schemas/x.json": "{}"}),
		"bad schema": write(t, map[string]string{"encoding/v.json": "{}", "schemas/x.json": "{"}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := conformance.Load(dir)
			require.ErrorContains(t, err, "vectors")
		})
	}
}
