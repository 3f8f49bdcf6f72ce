// Package usage reads the command line of an example.
package usage

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Parse reads the flags of package flag, and up to so many arguments after them. With -h, -help or
// --help it prints text and the flags to standard output, and ends the program with status 0. What
// the example does not take is an error, which ends it with status 2.
func Parse(text string, arguments int) {
	if testing.Testing() { // the command line is the test's
		return
	}
	flag.CommandLine.Init(os.Args[0], flag.ContinueOnError)
	flag.CommandLine.SetOutput(io.Discard)
	err := flag.CommandLine.Parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Println(strings.TrimSpace(text))
		flag.CommandLine.SetOutput(os.Stdout)
		flag.PrintDefaults()
		os.Exit(0)
	}
	if err == nil && flag.NArg() > arguments {
		err = fmt.Errorf("unexpected argument: %s", flag.Arg(arguments))
	}
	if err != nil {
		usage, _, _ := strings.Cut(text, "\n")
		fmt.Fprintf(os.Stderr, "%s: %v\n%s (-h explains)\n", filepath.Base(os.Args[0]), err, usage)
		os.Exit(2)
	}
}
