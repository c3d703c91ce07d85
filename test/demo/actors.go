package main

import (
	"context"
	_ "embed" // for the kubelet's manifest
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/oauth-operator/oauth-operator/test/stage"
)

const (
	kubeletName = "kubelet"
	kubeletWait = 2 * time.Second
)

//go:embed kubelet.yaml
var kubeletManifest []byte

// startActors starts the stand-in for the kubelet, and each workload as soon as its files are there, as a Pod would.
func (d *demo) startActors(ctx context.Context) error {
	if err := d.startKubelet(ctx); err != nil {
		return err
	}
	waiting := map[string]stage.Sample{}
	for _, sample := range d.samples {
		waiting[sample.Name] = sample
	}
	err := d.await(ctx, "the files of the Secrets", bound, func(ctx context.Context) (bool, error) {
		for name, sample := range waiting {
			if _, err := os.Stat(filepath.Join(d.mount(name), "headers")); err != nil {
				continue
			}
			if err := d.startWorkload(ctx, sample); err != nil {
				return false, err
			}
			delete(waiting, name)
		}
		return len(waiting) == 0, nil
	})
	if err != nil {
		return err
	}
	return d.await(ctx, "a call of each workload", bound, func(context.Context) (bool, error) {
		return d.everyTally(func(of accountTally) bool { return of.calls > 0 })
	})
}

// startKubelet starts it as who may read the namespace's Secrets and nothing else.
func (d *demo) startKubelet(ctx context.Context) error {
	manifest := filepath.Join(d.stage.Dir, "kubelet.yaml")
	if err := os.WriteFile(manifest, kubeletManifest, 0o600); err != nil {
		return err
	}
	if err := d.stage.Cluster.Apply(ctx, manifest); err != nil {
		return err
	}
	kubeconfig, err := d.stage.Kubeconfig(ctx, stage.Namespace, kubeletName)
	if err != nil {
		return err
	}
	d.seed = uint64(time.Now().Unix()) //nolint:gosec // it is after 1970
	arguments := []string{
		"--kubeconfig=" + kubeconfig, "--namespace=" + stage.Namespace,
		"--max-delay=" + kubeletWait.String(), "--seed=" + strconv.FormatUint(d.seed, 10),
	}
	for _, sample := range d.samples {
		arguments = append(arguments, "--mount="+sample.Name+"="+d.mount(sample.Name))
	}
	d.screen.sayf("the stand-in for the kubelet writes the files, up to %s late (seed %d)", kubeletWait, d.seed)
	d.kubelet, err = d.stage.Run(ctx, stage.Program{
		Name: kubeletName, Path: filepath.Join(d.programs, kubeletName), Args: arguments,
	})
	return err
}

// mount is the folder that an account's Secret is mounted at.
func (d *demo) mount(account string) string { return filepath.Join(d.stage.Dir, "mounts", account) }

// urls are what the workload of an account calls.
func (d *demo) urls(sample stage.Sample) []string {
	base := d.stage.Provider.URL
	switch {
	case sample.Name == smartBusinessAll, sample.Client == "smartbusiness-customers", sample.Client == "smartbusiness-consent":
		return []string{base + pathContacts, base + "/v2/invoices"}
	case sample.Client == "smartbusiness":
		return []string{base + "/v2/invoices"}
	case sample.OnBehalfOf != "":
		return []string{base + pathOfAccount(sample.OnBehalfOf)}
	default:
		return []string{base + "/v1/invoices"}
	}
}

// startWorkload starts it with an empty environment: where to call, whom to trust there, and a folder is all it gets.
func (d *demo) startWorkload(ctx context.Context, sample stage.Sample) error {
	arguments := []string{
		"--name=" + sample.Name, "--secret=" + d.mount(sample.Name), "--ca=" + d.stage.Provider.CAFile,
	}
	for _, url := range d.urls(sample) {
		arguments = append(arguments, "--url="+url)
	}
	process, err := d.stage.Run(ctx, stage.Program{
		Name: "workload-" + sample.Name, Path: filepath.Join(d.programs, "workload"), Args: arguments,
	})
	if err != nil {
		return err
	}
	d.workloads = append(d.workloads, process)
	return nil
}

// stopActors ends the workloads, the stand-in and the operator. Each says with its exit code whether all went well.
func (d *demo) stopActors() error {
	processes := append(slices.Clone(d.workloads), d.kubelet)
	if d.operator != nil {
		processes = append(processes, d.operator.Process)
	}
	d.screen.sayf("workloads and operator are stopped")
	var errs []error
	for _, process := range processes {
		errs = append(errs, process.Stop())
	}
	d.workloads, d.kubelet, d.operator = nil, nil, nil
	d.screen.stop()
	return errors.Join(errs...)
}

func (d *demo) everyTally(is func(accountTally) bool) (bool, error) {
	tallies, err := d.tally.read()
	if err != nil {
		return false, fmt.Errorf("read the provider's ledger: %w", err)
	}
	for _, sample := range d.samples {
		if !is(tallies[sample.Name]) {
			return false, nil
		}
	}
	return true, nil
}
