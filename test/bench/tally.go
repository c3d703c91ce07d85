package main

import (
	"strings"
	"sync"
	"time"

	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/stage"
)

// operatorUser is who the operator is to the API server. The bare loops act as it as well, in a namespace of their own.
const operatorUser = "system:serviceaccount:" + stage.OperatorNamespace + ":" + stage.OperatorName

// counts is what the operator has done in one namespace.
type counts struct {
	// claims, keeps and others are writes of accounts that were carried out; clients, those of OAuthClients. The log has no
	// bodies, so a claim is told from a keep by nothing but their number.
	accounts, clients, secrets, others int
	// events, dryRuns and refused are none of these.
	events, dryRuns, refused int
	// accountGets and secretGets are reads of single objects.
	accountGets, secretGets int
}

// writes are all that were carried out, but for events.
func (c *counts) writes() int { return c.accounts + c.clients + c.secrets + c.others }

func (c *counts) minus(before counts) counts {
	return counts{
		c.accounts - before.accounts, c.clients - before.clients, c.secrets - before.secrets, c.others - before.others,
		c.events - before.events, c.dryRuns - before.dryRuns, c.refused - before.refused,
		c.accountGets - before.accountGets, c.secretGets - before.secretGets,
	}
}

// tally follows the audit log, which has each request before its answer.
type tally struct {
	reader cluster.AuditReader

	mu sync.Mutex
	of map[string]*counts
	// written is when each Secret of a namespace was last written by the operator, all is each time.
	written map[string]map[string]time.Time
	all     map[string][]secretWrite
	// active is when the operator last asked for something, and leases, how often it has written its lease.
	active time.Time
	leases int
}

// secretWrite is a write of a token Secret: from then on whoever reads it has the new token.
type secretWrite struct {
	name string
	at   time.Time
}

func newTally(path string) *tally {
	return &tally{
		reader: cluster.AuditReader{Path: path}, of: map[string]*counts{},
		written: map[string]map[string]time.Time{}, all: map[string][]secretWrite{},
	}
}

// in is what was done in a namespace until now.
func (t *tally) in(namespace string) (counts, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.read(); err != nil {
		return counts{}, err
	}
	if of := t.of[namespace]; of != nil {
		return *of, nil
	}
	return counts{}, nil
}

// forget has the Secrets of a namespace count as not written.
func (t *tally) forget(namespace string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.read(); err != nil {
		return err
	}
	delete(t.written, namespace)
	delete(t.all, namespace)
	return nil
}

// secretsOf are the Secrets of a namespace that were written since they were forgotten, with the last time.
func (t *tally) secretsOf(namespace string) (written map[string]time.Time, all []secretWrite, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.read(); err != nil {
		return nil, nil, err
	}
	written = make(map[string]time.Time, len(t.written[namespace]))
	for name, at := range t.written[namespace] {
		written[name] = at
	}
	return written, append([]secretWrite(nil), t.all[namespace]...), nil
}

// howMany is len(secretsOf).
func (t *tally) howMany(namespace string) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.read()
	return len(t.written[namespace]), err
}

// activity is when the operator last asked the API server for something but its lease, and how often it has written that.
func (t *tally) activity() (last time.Time, leases int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err = t.read()
	return t.active, t.leases, err
}

func (t *tally) read() error {
	events, err := t.reader.Next()
	for i := range events {
		t.note(&events[i])
	}
	return err
}

func (t *tally) note(event *cluster.AuditEvent) {
	if event.User != operatorUser || event.Stage != cluster.StageResponseComplete || event.Namespace == "" {
		return
	}
	if event.Resource == "leases" {
		t.leases++
		return
	}
	t.active = event.Written
	of := t.of[event.Namespace]
	if of == nil {
		of = &counts{}
		t.of[event.Namespace] = of
	}
	switch event.Verb {
	case "get":
		switch event.Resource {
		case "connectedaccounts":
			of.accountGets++
		case "secrets":
			of.secretGets++
		}
	case "create", "update", "patch", "delete":
		of.wrote(event)
		if event.Resource == "secrets" && event.Verb != "delete" && event.Code < 300 && !event.DryRun {
			t.noteSecret(event)
		}
	}
}

func (c *counts) wrote(event *cluster.AuditEvent) {
	switch {
	case event.Resource == "events":
		c.events++
	case event.DryRun:
		c.dryRuns++
	case event.Code >= 300:
		c.refused++
	case event.Resource == "connectedaccounts":
		c.accounts++
	case event.Resource == "oauthclients":
		c.clients++
	case event.Resource == "secrets":
		c.secrets++
	default:
		c.others++
	}
}

func (t *tally) noteSecret(event *cluster.AuditEvent) {
	name := event.Name
	if strings.HasSuffix(name, importSuffix) {
		return // it was taken over from, which is noted in it
	}
	if t.written[event.Namespace] == nil {
		t.written[event.Namespace] = map[string]time.Time{}
	}
	t.written[event.Namespace][name] = event.Written
	t.all[event.Namespace] = append(t.all[event.Namespace], secretWrite{name, event.Written})
}
