package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

const (
	// unrelated is the namespace of Secrets that have nothing to do with the operator.
	unrelated = "unrelated"
	megabyte  = 1e6
)

// makeRest makes the accounts that nothing is to be done for from then on.
func (b *bench) makeRest(ctx context.Context) error {
	if err := b.make(ctx, b.fleets[fleetRest]); err != nil {
		return err
	}
	if err := b.untilIdle(ctx); err != nil {
		return err
	}
	before, err := b.tally.in(fleetRest)
	if err != nil {
		return err
	}
	b.rest = resting{since: time.Now(), before: before, calls: b.provider.ClientTokenRequests(fleetRest)}
	return nil
}

// judgeRest counts what was done for them since, by whichever process.
func (b *bench) judgeRest(ctx context.Context) error {
	if err := sleepUntil(ctx, b.rest.since.Add(b.settings.restFor)); err != nil {
		return err
	}
	if err := b.untilIdle(ctx); err != nil {
		return err
	}
	now, err := b.tally.in(fleetRest)
	if err != nil {
		return err
	}
	done := now.minus(b.rest.before)
	calls := b.provider.ClientTokenRequests(fleetRest) - b.rest.calls
	b.figures.m3 = &[3]int{done.writes() + done.dryRuns + done.refused, done.events, calls}
	b.report(fmt.Sprintf("M3  %d healthy accounts for %.0f s, across %d restart of the operator", b.settings.rest, time.Since(b.rest.since).Seconds(), b.rest.starts), table(
		[2]string{"writes of accounts, clients, Secrets, others; tried; refused", fmt.Sprintf("%d, %d, %d, %d; %d; %d", done.accounts, done.clients, done.secrets, done.others, done.dryRuns, done.refused)},
		[2]string{"events, calls of the provider", fmt.Sprintf("%d, %d", done.events, calls)},
		[2]string{"reads of single accounts, Secrets", fmt.Sprintf("%d, %d: after a start, each token Secret is looked at once", done.accountGets, done.secretGets)},
	))
	return nil
}

// heap is how many bytes of the operator's heap are in use, as its garbage collector found when it last ran. It is made to
// run by being asked, which costs memory, until it has run twice: the first time may have begun before.
func (b *bench) heap(ctx context.Context) (float64, error) {
	const live, cycles = "go_gc_heap_live_bytes", "go_gc_cycles_total_gc_cycles_total"
	first, found := -1.0, 0.0
	err := b.until(ctx, "the operator's garbage is collected", func() (bool, error) {
		sums, err := b.metrics(ctx, live, cycles)
		if err != nil {
			return false, err
		}
		if first < 0 {
			first = sums[cycles]
		}
		found = sums[live]
		return sums[cycles] >= first+2, nil
	})
	return found, err
}

// weigh is the smallest of several weights: what lies about by chance is not counted.
func (b *bench) weigh(ctx context.Context) (float64, error) {
	least := 0.0
	for range 5 {
		found, err := b.heap(ctx)
		if err != nil {
			return 0, err
		}
		if least == 0 || found < least {
			least = found
		}
	}
	return least, nil
}

func (b *bench) weighEmpty(ctx context.Context) (err error) {
	b.empty, err = b.weigh(ctx)
	return err
}

// weighFull weighs the operator with the accounts at rest, against what its caches hold of them: accounts without
// managedFields, and the metadata of token Secrets, as JSON.
func (b *bench) weighFull(ctx context.Context) error {
	full, err := b.weigh(ctx)
	if err != nil {
		return err
	}
	cached, err := b.cachedBytes(ctx)
	if err != nil {
		return err
	}
	count := float64(b.settings.rest)
	ratio := (full - b.empty) / cached
	b.figures.m4 = &ratio
	b.report(fmt.Sprintf("M4  the operator's heap with %d accounts", b.settings.rest), table(
		[2]string{"without accounts", fmt.Sprintf("%.1f MB", b.empty/megabyte)},
		[2]string{"with them", fmt.Sprintf("%.1f MB, %.0f bytes for each", full/megabyte, (full-b.empty)/count)},
		[2]string{"what is cached, as JSON", fmt.Sprintf("%.1f MB, %.0f bytes for each", cached/megabyte, cached/count)},
	))
	return nil
}

func (b *bench) cachedBytes(ctx context.Context) (float64, error) {
	accounts, secrets := &v1alpha1.ConnectedAccountList{}, &metav1.PartialObjectMetadataList{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := b.admin.List(ctx, accounts, client.InNamespace(fleetRest)); err != nil {
		return 0, err
	}
	if err := b.admin.List(ctx, secrets, client.InNamespace(fleetRest), client.HasLabels{v1alpha1.LabelAccount}); err != nil {
		return 0, err
	}
	sum := 0
	for i := range accounts.Items {
		accounts.Items[i].ManagedFields = nil
		text, err := json.Marshal(&accounts.Items[i])
		if err != nil {
			return 0, err
		}
		sum += len(text)
	}
	for i := range secrets.Items {
		secrets.Items[i].ManagedFields = nil
		text, err := json.Marshal(&secrets.Items[i])
		if err != nil {
			return 0, err
		}
		sum += len(text)
	}
	return float64(sum), nil
}

// weighSecrets finds out what Secrets cost that are nobody's business here.
func (b *bench) weighSecrets(ctx context.Context) error {
	before, err := b.weigh(ctx)
	if err != nil {
		return err
	}
	if err := b.makeNamespace(ctx, unrelated); err != nil {
		return err
	}
	content := make([]byte, b.settings.secretSize)
	err = each(ctx, b.settings.secrets, func(ctx context.Context, i int) error {
		return b.admin.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: unrelated, Name: numbered(i)}, Data: map[string][]byte{"content": content},
		})
	})
	if err != nil {
		return err
	}
	after, err := b.weigh(ctx)
	if err != nil {
		return err
	}
	growth := (after - before) / megabyte
	b.figures.m5 = &growth
	b.report(fmt.Sprintf("M5  %d unrelated Secrets of %d bytes", b.settings.secrets, b.settings.secretSize), table(
		[2]string{"the operator's heap, before and after", fmt.Sprintf("%.2f MB, %.2f MB", before/megabyte, after/megabyte)},
	))
	return nil
}
