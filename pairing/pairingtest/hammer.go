package pairingtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
)

// hammered does everything at once. What it checks is that all of it ends,
// with errors of the known kinds, and leaves nothing behind.
func hammered(k *kit) {
	for range 3 {
		root, worker := k.registry("root"), k.registry("worker", under("root"))
		k.connect(root, worker)
		chans := make([][2]*bus.Channel, 12) // made here: a factory belongs to the test's goroutine
		for i := range chans {
			chans[i][0], chans[i][1] = k.pair(fmt.Sprintf("w%d", i%3), fmt.Sprintf("r%d", i%3))
		}
		var wg sync.WaitGroup
		for g := range 6 {
			wg.Go(func() {
				for i := range k.volume(50) {
					k.hammer(root, worker, g, i)
				}
			})
		}
		for _, pair := range chans {
			wg.Go(func() { k.attachAndClose(root, worker, pair) })
		}
		wg.Go(func() {
			for i := range rand.IntN(20) {
				k.hammer(root, worker, 6, i)
			}
			_ = worker.Shutdown(k.ctx)
		})
		wg.Wait()
		_ = root.Close()
		k.settled(root, worker)
	}
}

func (k *kit) hammer(root, worker *commands.Registry, g, i int) {
	id := fmt.Sprintf("x%d", i%7)
	var err error
	switch rand.IntN(6) {
	case 0:
		err = registers(k, worker, id)
	case 1:
		worker.Unregister(id)
	case 2:
		_, err = root.ExecuteRaw(k.ctx, id, nil)
	case 3:
		_, err = worker.ExecuteRaw(k.ctx, id, nil)
	case 4:
		err = worker.Events().EmitRaw(k.ctx, "x", encoded(strconv.Itoa(g)))
	case 5:
		err = root.Events().Flush(k.ctx)
	}
	known := []error{nil, commands.ErrClosed, bus.ErrPeerClosed, commands.ErrNotFound, commands.ErrChannelDisconnected, commands.ErrDuplicateCommand}
	for _, kind := range known {
		if errors.Is(err, kind) {
			return
		}
	}
	k.t.Errorf("an unexpected error: %v", err)
}

func (k *kit) attachAndClose(root, worker *commands.Registry, pair [2]*bus.Channel) {
	a, err := root.RegisterChannel(k.ctx, pair[0])
	if err != nil { // the ID is taken, or the registry closed: the pair stays unused
		if pair[0].Close != nil {
			_ = pair[0].Close()
		}
		return
	}
	b, err := worker.RegisterChannel(k.ctx, pair[1])
	if err == nil && rand.IntN(2) == 0 {
		a, b = b, a
	}
	_ = a.Close()
	if b != nil {
		_ = b.Close()
	}
}
