package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/oauth-operator/oauth-operator/test/person"
	"github.com/oauth-operator/oauth-operator/test/stage"
)

const (
	// patience is how long a person at a browser may take for one link.
	patience = 9 * time.Minute

	headingConnected = "Connected"
)

// customers says who plays them.
func (d *demo) customers() string {
	if d.browser {
		return "you, at your browser"
	}
	return "a program that does what a browser does; CONSENT=browser lets you do it"
}

// connect applies the accounts that wait for a customer, and has the customers consent.
func (d *demo) connect(ctx context.Context) error {
	consents, err := d.stage.ApplyConsents(ctx, stage.ImportOptions{RefreshBefore: importLead})
	if err != nil {
		return err
	}
	for i, sample := range consents {
		link, err := d.stage.Link(ctx, sample.Name)
		if err != nil {
			return err
		}
		follow := d.followLink
		if d.browser {
			d.screen.print(fmt.Sprintf(invitation, i+1, len(consents), sample.Name, int(patience/time.Minute), link))
			follow = d.awaitConsent
		}
		if err := follow(ctx, sample, link); err != nil {
			return err
		}
	}
	d.samples = append(d.samples, consents...)
	return nil
}

// followLink is a customer without a screen.
func (d *demo) followLink(ctx context.Context, sample stage.Sample, link string) error {
	customer, err := person.New(person.Options{
		CAFiles: []string{d.stage.Front.CAFile, d.stage.Provider.CAFile},
		Fields:  map[string]string{"login": "customer of " + strings.TrimSuffix(sample.Name, "-connected")},
	})
	if err != nil {
		return err
	}
	defer customer.Close()
	began := time.Now()
	page, err := customer.Follow(ctx, link)
	if err != nil {
		return fmt.Errorf("a customer connects %s: %w", sample.Name, err)
	}
	if page.Heading != headingConnected {
		return fmt.Errorf("a customer who connects %s ends at %q: %s", sample.Name, page.Heading, page.Text)
	}
	d.screen.sayf("a customer has followed the link of %s, consented at the provider and come back: %q, after %s",
		sample.Name, page.Heading, time.Since(began).Round(10*time.Millisecond))
	return nil
}

// invitation is for whoever has started the demo.
const invitation = `
Link %d of %d. Open it in a browser on this machine to connect %s, within %d minutes:

  %s

The browser warns twice of certificates, here and at the provider: they are of this run, and you may go on. At the
provider any name will do. A page that says "Connected" is the end, and the demo goes on by itself. If you say no or
something goes wrong, open the link again.

`

// awaitConsent waits until somebody has followed the link.
func (d *demo) awaitConsent(ctx context.Context, sample stage.Sample, _ string) error {
	err := d.await(ctx, "somebody to follow the link", patience, func(ctx context.Context) (bool, error) {
		text, err := d.stage.Kubectl(ctx, d.developer, "get", "connectedaccount", sample.Name, "--namespace="+stage.Namespace, "--output=jsonpath={.status.rotations}")
		return text != "", err
	})
	if err != nil {
		return err
	}
	d.screen.sayf("%s is connected", sample.Name)
	return nil
}
