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
	for _, sample := range consents {
		link, err := d.stage.Link(ctx, sample.Name)
		if err != nil {
			return err
		}
		follow := d.followLink
		if d.browser {
			follow = d.showLink
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

// showLink waits until somebody has followed the link.
func (d *demo) showLink(ctx context.Context, sample stage.Sample, link string) error {
	d.screen.print(fmt.Sprintf(`
Open this link to connect %s. Your browser will warn you of the certificates, which are of this run; it is right, and
you may go on, here and at the provider, where any name will do.

  %s

`, sample.Name, link))
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
