// Command conformance runs protocol vectors on both codecs and prints a line
// for each. It exits with 1 if any fails, or if a directory has none.
//
//	go run ./internal/conformance/cmd/conformance [-spec DIR]
//
// Without -spec, and in the root of the project, it runs the project's own
// vectors, and those of ../shared/spec where that exists.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/leatbus/leat/internal/conformance"
)

const (
	own       = "internal/conformance/testdata"
	neighbour = "../shared/spec"
)

func main() {
	spec := flag.String("spec", "", "run the vectors of this `directory` instead of the project's own")
	flag.Parse()
	err := errors.New("there are no arguments but flags")
	if flag.NArg() == 0 {
		err = run(context.Background(), os.Stdout, directories(*spec))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// directories are where the vectors are.
func directories(spec string) []string {
	if spec != "" {
		return []string{spec}
	}
	if _, err := os.Stat(neighbour); err != nil {
		return []string{own}
	}
	return []string{own, neighbour}
}

func run(ctx context.Context, out io.Writer, dirs []string) error {
	var passed, failed int
	var errs []error
	for _, dir := range dirs {
		vectors, err := conformance.Load(dir)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		prefix := ""
		if len(dirs) > 1 {
			prefix = dir
		}
		for _, v := range vectors {
			for _, w := range []conformance.Wire{conformance.OverJSON(), conformance.OverBinary()} {
				name := path.Join(prefix, v.Name) + " (" + w.Name + ")"
				if err := v.Run(ctx, w); err != nil {
					failed++
					fmt.Fprintf(out, "FAIL %s: %s\n", name, oneLine(err))
					continue
				}
				passed++
				fmt.Fprintf(out, "ok   %s\n", name)
			}
		}
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		errs = append(errs, fmt.Errorf("%d of %d vectors failed", failed, passed+failed))
	}
	return errors.Join(errs...)
}

// oneLine keeps a reason on the line of its vector.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
