package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// crew are the worker processes. Not for concurrent use.
type crew struct {
	url, namespace string
	screen         *screen
	workers        map[string]*worker
}

type worker struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{} // closed when the process was waited for
}

func newCrew(url, namespace string, s *screen) *crew {
	return &crew{url: url, namespace: namespace, screen: s, workers: make(map[string]*worker)}
}

// hire starts a worker, and returns when it can be called.
func (c *crew) hire(ctx context.Context, id string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	w := &worker{cmd: exec.Command(self, "-as", id, "-namespace", c.namespace, c.url), ended: make(chan struct{})}
	w.cmd.Stderr = os.Stderr
	if w.stdin, err = w.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := w.cmd.Start(); err != nil {
		return err
	}
	c.workers[id] = w
	said := make(chan bool, 1)
	go func() {
		defer close(w.ended)
		lines := bufio.NewScanner(out)
		said <- lines.Scan() && lines.Text() == ready
		for lines.Scan() { // to its end, which comes before Wait
		}
		_ = w.cmd.Wait()
	}()
	select {
	case ok := <-said:
		if !ok {
			return fmt.Errorf("%s did not start", id)
		}
		c.screen.note("%s is there, process %d", id, w.cmd.Process.Pid)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// kill ends a worker in the middle of whatever it does.
func (c *crew) kill(id string) error {
	w := c.workers[id]
	delete(c.workers, id)
	if err := w.cmd.Process.Kill(); err != nil {
		return err
	}
	<-w.ended
	c.screen.note("%s was killed", id)
	return nil
}

// trouble kills a worker after a quarter of the calls, and starts it again after half of them.
func (c *crew) trouble(ctx context.Context, id string, t *tally) error {
	if !t.reach(ctx, 1, 4) {
		return nil
	}
	if err := c.kill(id); err != nil {
		return err
	}
	if !t.reach(ctx, 1, 2) {
		return nil
	}
	if err := c.hire(ctx, id); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// dismiss ends all workers: in good order, or else.
func (c *crew) dismiss() {
	for _, w := range c.workers {
		_ = w.stdin.Close()
	}
	patience := time.After(7 * time.Second)
	for _, w := range c.workers {
		select {
		case <-w.ended:
		case <-patience:
			_ = w.cmd.Process.Kill()
			<-w.ended
		}
	}
}
