// Command leatsoak runs registries under everything at once, for as long as it is told to, and says whether all that leat
// promises has held.
//
//	leatsoak [-for 1m] [-load 1] [-seed N] [-every 1m]
//
// Over each wire that stays in one process (bus/memory, GoChannel, the JSON codec, and Join over one GoChannel that all
// share) there are two sites. In the steady one, three registries in a row, nothing is ever closed: bursts of calls and of
// events go beyond the bounds, while a hostile peer sends what it should not; at the end every call is accounted for, and
// every event was heard or is counted as lost. In the restless one, a tree with a cycle, registries come and go, links break
// and come back, commands are registered and withdrawn, and listeners open and close, under calls and events; at the end all
// commands are known everywhere.
//
// A table on standard output has a line for each period. Then everything is closed, goroutines and heap have to be back to
// where they were, and one line says the verdict: the exit status is 1 if anything was violated, and each violation is on
// standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type config struct {
	during, every time.Duration
	load          int
	seed          uint64
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run returns the exit status. When ctx ends the soak is shorter, and judged all the same.
func run(ctx context.Context, args []string, out, log io.Writer) int {
	var c config
	flags := flag.NewFlagSet("leatsoak", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.DurationVar(&c.during, "for", time.Minute, "how long")
	flags.DurationVar(&c.every, "every", time.Minute, "a line of the table is of this `period`")
	flags.IntVar(&c.load, "load", 1, "multiplies the sizes of bursts")
	flags.Uint64Var(&c.seed, "seed", rand.Uint64(), "of what happens by chance; goroutines take turns as they like all the same")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if c.during <= 0 || c.every <= 0 || c.load < 1 || flags.NArg() > 0 {
		fmt.Fprintln(log, "leatsoak: -for and -every are above 0, -load at least 1, and there are no arguments")
		return 2
	}
	j := newJudge(log)
	soak(ctx, c, j, out)
	fmt.Fprintln(out, j.verdict())
	if j.violations() > 0 {
		return 1
	}
	return 0
}
