// Package usage reads the command line of an example.
package usage

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// Parse reads the flags of package flag, and up to so many arguments after them. With -h, -help or --help it prints text and
// the flags to standard output, and ends the program with status 0. What the example does not take is said on standard error,
// with the same text behind it: status 2.
func Parse(text string, arguments int) {
	if testing.Testing() { // the command line is the test's
		return
	}
	flag.CommandLine.Init(os.Args[0], flag.ContinueOnError)
	flag.CommandLine.SetOutput(io.Discard)
	err := flag.CommandLine.Parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		show(os.Stdout, text)
		os.Exit(0)
	}
	if err == nil && flag.NArg() > arguments {
		err = fmt.Errorf("unexpected argument: %s", flag.Arg(arguments))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		show(os.Stderr, text)
		os.Exit(2)
	}
}

func show(out io.Writer, text string) {
	fmt.Fprintln(out, strings.TrimSpace(text))
	flag.CommandLine.SetOutput(out)
	flag.PrintDefaults()
}
