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

// supervisor starts and ends the worker processes. Not for concurrent use.
type supervisor struct {
	url, namespace string
	screen         *screen
	workers        map[string]*worker
}

type worker struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{} // closed when the process has ended and was waited for
}

func newSupervisor(url, namespace string, s *screen) *supervisor {
	return &supervisor{url: url, namespace: namespace, screen: s, workers: make(map[string]*worker)}
}

// start starts a worker, and returns when it can be called.
func (s *supervisor) start(ctx context.Context, id string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	w := &worker{cmd: exec.Command(self, "-as", id, "-namespace", s.namespace, s.url), ended: make(chan struct{})}
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
	s.workers[id] = w
	started := make(chan bool, 1)
	go func() {
		defer close(w.ended)
		lines := bufio.NewScanner(out)
		started <- lines.Scan() && lines.Text() == ready
		for lines.Scan() { // to its end, which comes before Wait
		}
		_ = w.cmd.Wait()
	}()
	select {
	case ok := <-started:
		if !ok {
			return fmt.Errorf("%s did not start", id)
		}
		s.screen.note("%s is ready, process %d", id, w.cmd.Process.Pid)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// kill ends a worker in the middle of its work.
func (s *supervisor) kill(id string) error {
	w := s.workers[id]
	delete(s.workers, id)
	if err := w.cmd.Process.Kill(); err != nil {
		return err
	}
	<-w.ended
	s.screen.note("%s was killed", id)
	return nil
}

// disrupt kills a worker after a quarter of the calls, and starts it again after half of them.
func (s *supervisor) disrupt(ctx context.Context, id string, t *tally) error {
	if !t.reach(ctx, 1, 4) {
		return nil
	}
	if err := s.kill(id); err != nil {
		return err
	}
	if !t.reach(ctx, 1, 2) {
		return nil
	}
	if err := s.start(ctx, id); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// stopTimeout bounds the wait for workers that leave in good order.
const stopTimeout = 7 * time.Second

// stop asks all workers to leave, and kills those that do not within stopTimeout.
func (s *supervisor) stop() {
	for _, w := range s.workers {
		_ = w.stdin.Close()
	}
	late := time.After(stopTimeout)
	for _, w := range s.workers {
		select {
		case <-w.ended:
		case <-late:
			_ = w.cmd.Process.Kill()
			<-w.ended
		}
	}
}
