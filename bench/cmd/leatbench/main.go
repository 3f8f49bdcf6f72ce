// Command leatbench measures leat beside its peers in one run.
//
//	leatbench table  [-short] [-json FILE]      tables as Markdown; FILE gets the numbers
//	leatbench ratios [-short] [-only PART]      name, value, bound and ok or short, one ratio a line
//	leatbench charts [-from FILE] [-into DIR] [-page FILE [-ratios FILE]]
//	leatbench brokers [-short] [-page FILE] [URL…]   fleets of processes over brokers: tables, then ratios
//
// Charts draws what table has written, and puts the tables, and the ratios, between the marks in the page.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/leatbus/leat/bench/internal/measure"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "leatbench:", err)
		}
		os.Exit(2)
	}
}

func run(args []string, out, log io.Writer) error {
	if len(args) == 0 {
		return errors.New("usage: leatbench table|ratios|brokers|charts [flags]")
	}
	flags := flag.NewFlagSet("leatbench "+args[0], flag.ContinueOnError)
	flags.SetOutput(log)
	switch args[0] {
	case "table":
		short := flags.Bool("short", false, "little of everything, to see that it runs")
		file := flags.String("json", "", "write the numbers to `FILE`")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return table(effortFor(*short), *file, out, log)
	case "ratios":
		short := flags.Bool("short", false, "little of everything, to see that it runs")
		only := flags.String("only", "", "measure one `PART`: calls, cores or scale")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return ratios(effortFor(*short), *only, out, log)
	case "brokers":
		short := flags.Bool("short", false, "little of everything, to see that it runs")
		page := flags.String("page", "", "a Markdown `FILE` in which to put the tables")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return overBrokers(effortFor(*short), *page, flags.Args(), out, log)
	case "charts":
		from := flags.String("from", "docs/charts/results.json", "the numbers, from table -json")
		into := flags.String("into", "docs/charts", "where the SVG files go")
		page := flags.String("page", "", "a Markdown `FILE` whose tables are replaced")
		ratios := flags.String("ratios", "", "what the ratios subcommand has printed, for the page")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return charts(*from, *into, *page, *ratios)
	}
	return fmt.Errorf("no subcommand %q: table, ratios, brokers or charts", args[0])
}

// effort is how much is measured.
type effort struct {
	measure.Plan
	each    int           // calls that each of many callers makes, at least: fewer would measure how goroutines start
	burst   int           // events of the ratio's burst
	largest int           // no rig of more items is built
	ttl     time.Duration // of the store that is to shrink
}

func effortFor(short bool) effort {
	if short {
		return effort{measure.Plan{Rounds: 1, Target: 2 * time.Millisecond}, 1, 2_000, 1_000, 500 * time.Millisecond}
	}
	return effort{measure.Plan{Rounds: 9, Target: 100 * time.Millisecond}, 50, 100_000, 1_000_000, 4 * time.Second}
}
