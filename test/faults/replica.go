package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/oauth-operator/oauth-operator/test/faults/records"
	"github.com/oauth-operator/oauth-operator/test/stage"
)

// terminateTimeout is the Deployment's terminationGracePeriodSeconds.
const terminateTimeout = 120 * time.Second

// replica is one pod of the operator after the other: a process, the journal of the pod, and what the kubelet does when the
// process ends. It speaks to the API server through a proxy of its own, by whose name it goes.
type replica struct {
	name       string
	stage      *stage.Stage
	binary     string
	kubeconfig string
	flags      []string
	faults     *records.Writer
	// launch starts a process with a journal in a folder.
	launch func(ctx context.Context, flags []string, journal string) (*stage.Operator, error)

	mu       sync.Mutex
	journal  string
	pods     int
	operator *stage.Operator
	// wanted: when the process ends by itself, another is started.
	wanted bool
}

// start starts the process, in a new pod if there is none.
func (r *replica) start(ctx context.Context, extra ...string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flags = extra
	return r.startLocked(ctx)
}

func (r *replica) startLocked(ctx context.Context) error {
	if r.journal == "" {
		r.pods++
		r.journal = filepath.Join(r.stage.Dir, fmt.Sprintf("pod-%s-%d", r.name, r.pods))
		if err := os.MkdirAll(r.journal, 0o700); err != nil {
			return err
		}
	}
	at := time.Now()
	operator, err := r.launch(ctx, r.flags, r.journal)
	if err != nil {
		return err
	}
	r.operator, r.wanted = operator, true
	r.faults.Write(records.Fault{Time: at.UTC(), Kind: records.ProcessStarts, Replica: r.name, Process: operator.Name})
	go r.watch(ctx, operator)
	return nil
}

// controllers launches the operator, with the consent pages in one process or without.
func (r *replica) controllers(pages bool) func(context.Context, []string, string) (*stage.Operator, error) {
	return func(ctx context.Context, flags []string, journal string) (*stage.Operator, error) {
		return r.stage.StartOperator(ctx, stage.OperatorOptions{
			Binary: r.binary, ExtraArgs: flags, Kubeconfig: r.kubeconfig, JournalDir: journal, AtOnce: true, Pages: pages,
		})
	}
}

// pages launches the consent pages. They have no journal.
func (r *replica) pages(ctx context.Context, _ []string, _ string) (*stage.Operator, error) {
	return r.stage.StartPages(ctx, stage.PagesOptions{Binary: r.binary, Kubeconfig: r.kubeconfig, AtOnce: true})
}

// watch starts another process when one ends that was not asked to.
func (r *replica) watch(ctx context.Context, operator *stage.Operator) {
	<-operator.Done()
	at := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.operator != operator || !r.wanted || ctx.Err() != nil {
		return
	}
	r.faults.Write(records.Fault{Time: at.UTC(), Kind: records.ProcessEnded, Replica: r.name, Process: operator.Name, Journal: r.entries()})
	// A process that cannot start would be started for ever.
	time.Sleep(300 * time.Millisecond)
	if err := r.startLocked(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "faults: restart:", err)
	}
}

// entries are the files of the journal. What is not renamed into its place yet is none.
func (r *replica) entries() []string {
	var names []string
	found, err := os.ReadDir(r.journal)
	if err != nil {
		return nil
	}
	for _, each := range found {
		if name := each.Name(); !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, ".tmp") {
			names = append(names, name)
		}
	}
	return names
}

// kill sends SIGKILL and starts no other process. If the pod goes as well, so does its journal.
func (r *replica) kill(podGone bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.operator == nil || r.operator.Ended() {
		return nil
	}
	r.wanted = false
	at := time.Now()
	if err := r.operator.Kill(); err != nil {
		return err
	}
	r.faults.Write(records.Fault{
		Time: at.UTC(), Until: time.Now().UTC(), Kind: records.ProcessKilled, Replica: r.name, Process: r.operator.Name,
		JournalGone: podGone, Journal: r.entries(),
	})
	if podGone {
		r.journal = ""
	}
	return nil
}

// again starts a process after a kill.
func (r *replica) again(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wanted {
		return nil
	}
	return r.startLocked(ctx)
}

// terminate sends SIGTERM and waits for the end, as the kubelet does before it removes a pod.
func (r *replica) terminate() error {
	r.mu.Lock()
	if r.operator == nil || r.operator.Ended() {
		r.wanted = false
		r.mu.Unlock()
		return nil
	}
	r.wanted = false
	operator := r.operator
	r.mu.Unlock()
	r.faults.Write(records.Fault{Time: time.Now().UTC(), Kind: records.ProcessTerminated, Replica: r.name, Process: operator.Name})
	if err := operator.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	code, err := operator.Wait(terminateTimeout)
	if err != nil {
		return errors.Join(err, operator.Kill())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults.Write(records.Fault{Time: time.Now().UTC(), Kind: records.ProcessEnded, Replica: r.name, Process: operator.Name, JournalGone: true, Journal: r.entries()})
	r.journal = ""
	if code != 0 {
		return fmt.Errorf("%s ended on SIGTERM with exit code %d\n%s", operator.Name, code, operator.LastLines())
	}
	return nil
}

// stop sends SIGSTOP, resume SIGCONT.
// stop has the process stand still. Once it returns, nothing that arrives is read any more.
func (r *replica) stop(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults.Write(records.Fault{Time: time.Now().UTC(), Kind: records.ProcessStopped, Replica: r.name, Process: r.operator.Name})
	return r.operator.Suspend(ctx)
}

func (r *replica) resume() error { return r.signal(syscall.SIGCONT, records.ProcessContinued) }

func (r *replica) signal(signal os.Signal, as records.FaultKind) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults.Write(records.Fault{Time: time.Now().UTC(), Kind: as, Replica: r.name, Process: r.operator.Name})
	return r.operator.Signal(signal)
}

// abandon has the process not be started again. It is for the end of a run that went wrong, and kills a process that sleeps.
func (r *replica) abandon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted = false
	if r.operator != nil && !r.operator.Ended() {
		_ = r.operator.Kill()
	}
}

// runs reports whether the process runs with the flags.
func (r *replica) runs(flags []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wanted && slices.Equal(r.flags, flags)
}

// ready reports whether the process says that it is.
func (r *replica) ready(ctx context.Context) bool {
	r.mu.Lock()
	operator := r.operator
	r.mu.Unlock()
	return operator != nil && operator.Ready(ctx)
}

func (r *replica) lastLines() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.operator == nil {
		return ""
	}
	return r.operator.LastLines()
}
