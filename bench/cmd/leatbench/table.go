package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/leatbus/leat/bench/internal/fanout"
	"github.com/leatbus/leat/bench/internal/measure"
	"github.com/leatbus/leat/bench/internal/peers"
	"github.com/leatbus/leat/bench/internal/results"
	"github.com/leatbus/leat/bench/internal/scale"
)

// column is one setting of the calls' tables.
type column struct {
	name  string
	setup peers.Setup
}

var (
	byCallers = []column{{"1", peers.Setup{}}, {"16", peers.Setup{Callers: 16}}, {"256", peers.Setup{Callers: 256}}, {"4096", peers.Setup{Callers: 4096}}}
	byPayload = []column{{"32 B", peers.Setup{}}, {"4 KiB", peers.Setup{Payload: 4 << 10}}, {"256 KiB", peers.Setup{Payload: 256 << 10}}}
	byHops    = []column{{"1", peers.Setup{}}, {"2", peers.Setup{Hops: 2}}, {"3", peers.Setup{Hops: 3}}}
)

func table(e effort, file string, out, log io.Writer) error {
	r := results.Here()
	add := func(sections []results.Section, err error) error {
		r.Sections = append(r.Sections, sections...)
		for _, s := range sections {
			fmt.Fprintln(log, "# done:", s.Title)
		}
		return err
	}
	e.Rounds = min(e.Rounds, 7)
	if err := add(callSections(e)); err != nil {
		return err
	}
	if err := add(eventSection(e)); err != nil {
		return err
	}
	if err := add(scaleSections(e)); err != nil {
		return err
	}
	r.Markdown(out)
	if file != "" {
		return r.Write(file)
	}
	return nil
}

func callSections(e effort) ([]results.Section, error) {
	callers, err := callSection(e, byCallers, peers.All())
	if err != nil {
		return nil, err
	}
	allocs := callers
	allocs.ID, allocs.Title, allocs.Unit, allocs.Axis = "allocations", "Allocations", "Allocations per call, one caller, both sides", "peer"
	allocs.Columns = []string{"per call"}
	allocs.Rows = nil
	for _, row := range callers.Rows { // the last value of each row is its allocations
		last := len(row.Values) - 1
		allocs.Rows = append(allocs.Rows, results.Row{Name: row.Name, About: row.About, Values: row.Values[last:]})
	}
	trim(&callers)
	callers.ID, callers.Title, callers.Axis = "callers", "Calls, by concurrent callers", "callers"
	payloads, err := callSection(e, byPayload, peers.All())
	if err != nil {
		return nil, err
	}
	trim(&payloads)
	payloads.ID, payloads.Title, payloads.Axis = "payload", "Calls, by size of the request", "payload"
	var relays []peers.Kind
	for _, k := range peers.All() {
		if k.Relays {
			relays = append(relays, k)
		}
	}
	hops, err := callSection(e, byHops, relays)
	trim(&hops)
	hops.ID, hops.Title, hops.Axis = "hops", "Calls, by hops", "hops"
	return []results.Section{callers, allocs, payloads, hops}, err
}

// trim takes the allocations off the rows.
func trim(s *results.Section) {
	for i := range s.Rows {
		v := s.Rows[i].Values
		s.Rows[i].Values = v[:len(v)-1]
	}
}

// callSection measures all kinds with one setting, then with the next. The last value of a row is the allocations per
// call of the first setting.
func callSection(e effort, columns []column, kinds []peers.Kind) (results.Section, error) {
	s := results.Section{Unit: "ns per call, median of interleaved rounds"}
	for _, k := range kinds {
		s.Rows = append(s.Rows, results.Row{Name: k.Name, About: k.About})
	}
	allocs := make([]float64, len(kinds))
	for i, c := range columns {
		s.Columns = append(s.Columns, c.name)
		measured, err := measureColumn(e, c, kinds)
		if err != nil {
			return s, fmt.Errorf("%s: %w", c.name, err)
		}
		for j, m := range measured {
			s.Rows[j].Values = append(s.Rows[j].Values, m.Median())
			if i == 0 {
				allocs[j] = m.Allocs
			}
		}
	}
	for j := range s.Rows {
		s.Rows[j].Values = append(s.Rows[j].Values, allocs[j])
	}
	return s, nil
}

func measureColumn(e effort, c column, kinds []peers.Kind) ([]measure.Result, error) {
	f := fleet{each: e.each}
	defer f.close()
	for _, k := range kinds {
		if err := f.add(k.Name, k.Name, c.setup); err != nil {
			return nil, err
		}
	}
	return measure.Rounds(e.Plan, f.series...)
}

func eventSection(e effort) ([]results.Section, error) {
	s := results.Section{
		ID: "events", Title: "Events, by listeners", Axis: "listeners",
		Unit: "ns per delivery (an event to ten listeners is ten), emitted, flushed and handled",
	}
	for _, k := range fanout.All() {
		s.Rows = append(s.Rows, results.Row{Name: k.Name, About: k.About})
	}
	for _, listeners := range []int{1, 10, 1000} {
		s.Columns = append(s.Columns, strconv.Itoa(listeners))
		// What a mesh relays cannot wait for room: a burst fits the links' queues.
		burst := max(1, min(e.burst/listeners, 5_000))
		measured, err := measureEvents(e, listeners, burst)
		if err != nil {
			return nil, fmt.Errorf("%d listeners: %w", listeners, err)
		}
		for j, m := range measured {
			s.Rows[j].Values = append(s.Rows[j].Values, m.Median())
		}
	}
	return []results.Section{s}, nil
}

func measureEvents(e effort, listeners, burst int) ([]measure.Result, error) {
	f := fleet{each: e.each}
	defer f.close()
	for _, k := range fanout.All() {
		if err := f.addFan(k.Name, k.Make, fanout.Setup{Listeners: listeners, Largest: burst}); err != nil {
			return nil, err
		}
	}
	return measure.Rounds(e.Plan, f.series...)
}

// scaleSections has a table for each dimension: cost and memory by size.
func scaleSections(e effort) ([]results.Section, error) {
	var sections []results.Section
	for _, d := range scale.All() {
		s, err := scaleSection(e, d)
		if err != nil {
			return nil, err
		}
		sections = append(sections, s)
	}
	return sections, nil
}

// scaleSection measures the sizes one after the other, not side by side: what a large rig costs the collector is a part of
// its price, and not of the small one's.
func scaleSection(e effort, d scale.Dimension) (results.Section, error) {
	s := results.Section{ID: "scale-" + d.Name, Title: "Scaling: " + d.Name, Unit: "Cost of " + d.About, Axis: d.Name}
	cost, memory := results.Row{Name: "ns per operation"}, results.Row{Name: "bytes per item"}
	for _, n := range d.Sizes {
		if n > e.largest {
			continue
		}
		ns, bytes, err := measureRig(e, d.Name, n)
		if err != nil {
			return s, err
		}
		s.Columns = append(s.Columns, strconv.Itoa(n))
		cost.Values = append(cost.Values, ns)
		memory.Values = append(memory.Values, bytes)
	}
	s.Rows = []results.Row{cost, memory}
	return s, nil
}

func measureRig(e effort, dimension string, n int) (ns, bytes float64, err error) {
	f := fleet{each: e.each}
	defer f.close()
	rig, err := f.addRig(dimension, n)
	if err != nil {
		return 0, 0, err
	}
	measured, err := measure.Rounds(e.Plan, f.series...)
	if err != nil {
		return 0, 0, err
	}
	return measured[0].Median(), max(rig.PerItem, 0), nil
}
