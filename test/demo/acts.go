package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/stage"
)

// play is what happens while the workloads call. Nothing of it may be noticed by them, and nothing but renewals may cost
// a call of a token endpoint.
func (d *demo) play(ctx context.Context) error {
	began := time.Now()
	d.screen.show(ctx, d.rows)
	first, err := d.token(smartBusinessAll)
	if err != nil {
		return err
	}
	for _, act := range []func(context.Context) error{
		d.callWhatMustBeRefused,
		func(ctx context.Context) error { return d.callWithRevoked(ctx, "smartbills") },
		func(ctx context.Context) error { return d.deleteSecret(ctx, "smartbusiness-invoices") },
		func(ctx context.Context) error { return d.callWithExpired(ctx, first) },
		d.restartOperator,
		func(ctx context.Context) error { return d.editSecret(ctx, "smartbills") },
		d.killOperator,
	} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	d.screen.sayf("waiting until each token has been renewed %d times, and %d refresh tokens of each consent are spent", leastRenewals, leastRotations)
	err = d.await(ctx, "the renewals", mostRun-time.Since(began), func(context.Context) (bool, error) {
		enough, err := d.everyTally(func(of accountTally) bool {
			return of.renewals() >= leastRenewals && (!of.rotates || of.spent >= leastRotations)
		})
		return enough && time.Since(began) >= leastRun, err
	})
	if err != nil && ctx.Err() == nil {
		// What is missing is for the verdict to say.
		d.screen.sayf("%v", err)
		return d.ended()
	}
	return err
}

// deleteSecret deletes a token Secret, and waits until it is back.
func (d *demo) deleteSecret(ctx context.Context, name string) error {
	before, err := d.stage.Secret(ctx, name)
	if err != nil {
		return err
	}
	d.screen.sayf("the user deletes the Secret %s", name)
	if _, err := d.stage.Kubectl(ctx, d.developer, "delete", "secret", name, "--namespace="+stage.Namespace); err != nil {
		return err
	}
	return d.awaitRepair(ctx, name, func(now *corev1.Secret) bool { return now.UID != before.UID })
}

// editSecret overwrites the token in a Secret, under a key that the workload does not read: what happens to a workload that
// reads a token which somebody has broken is no question.
func (d *demo) editSecret(ctx context.Context, name string) error {
	const patch = `{"stringData":{"access_token":"edited by hand"}}`
	d.screen.sayf("the user overwrites access_token in the Secret %s", name)
	if _, err := d.stage.Kubectl(ctx, d.developer, "patch", "secret", name, "--namespace="+stage.Namespace, "--patch="+patch); err != nil {
		return err
	}
	return d.awaitRepair(ctx, name, func(now *corev1.Secret) bool {
		token := now.Data["access_token"]
		return len(token) > 0 && bytes.Contains(now.Data["headers"], token)
	})
}

func (d *demo) awaitRepair(ctx context.Context, name string, repaired func(*corev1.Secret) bool) error {
	began := time.Now()
	err := d.await(ctx, "the Secret "+name+" to be put right", bound, func(ctx context.Context) (bool, error) {
		now, err := d.stage.Secret(ctx, name)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil && repaired(now), err
	})
	if err != nil {
		return err
	}
	d.screen.sayf("the operator has put it right, seen %s after kubectl ended", time.Since(began).Round(time.Millisecond))
	return nil
}

// restartOperator ends the operator as a kubelet would, and starts it again.
func (d *demo) restartOperator(ctx context.Context) error {
	began := time.Now()
	d.screen.sayf("the operator is stopped (SIGTERM) and started again")
	operator := d.operator
	d.operator = nil
	if err := operator.Stop(); err != nil {
		return err
	}
	var err error
	if d.operator, err = d.startOperator(ctx); err != nil {
		return err
	}
	d.screen.sayf("the operator is back after %s", time.Since(began).Round(10*time.Millisecond))
	return nil
}

// killOperator ends the operator without warning, and starts it again in the same pod. It waits until that process has spent
// refresh tokens, and for a moment at which no token request is open, or about to be made: a kill between a provider's
// decision and its reply costs a refresh token for good, whoever holds it. What a kill at the other moments of a request
// does, the end-to-end tests show.
func (d *demo) killOperator(ctx context.Context) error {
	before, err := d.tally.read()
	if err != nil {
		return err
	}
	err = d.await(ctx, "the operator to spend a refresh token of each consent", bound, func(context.Context) (bool, error) {
		now, err := d.tally.read()
		for name, of := range now {
			if of.rotates && of.spent == before[name].spent {
				return false, err
			}
		}
		return true, err
	})
	if err != nil {
		return err
	}
	if err := d.await(ctx, "a moment between token requests", bound, d.quiet); err != nil {
		return err
	}
	began := time.Now()
	operator := d.operator
	d.operator = nil
	if err := operator.Kill(); err != nil {
		return err
	}
	d.screen.sayf("the operator is killed (kill -9), at a moment without a token request, and started again in the same pod")
	d.screen.sayf("this once without leader election: the lease of the dead lasts 15 s more, as long as a token lives here")
	if d.operator, err = d.startOperator(ctx, "--leader-elect=false"); err != nil {
		return err
	}
	d.screen.sayf("the operator is back after %s", time.Since(began).Round(10*time.Millisecond))
	return nil
}

// quiet reports whether no account has a token request open, or due within a moment.
func (d *demo) quiet(ctx context.Context) (bool, error) {
	const moment = 500 * time.Millisecond
	accounts := &v1alpha1.ConnectedAccountList{}
	if err := d.accounts.List(ctx, accounts, client.InNamespace(stage.Namespace)); err != nil {
		return false, err
	}
	for i := range accounts.Items {
		status := &accounts.Items[i].Status
		if status.Claim.ID != "" || status.NextRefreshTime == nil || time.Until(status.NextRefreshTime.Time) < moment {
			return false, nil
		}
	}
	return true, nil
}

// renewedSince reports whether each account has a token that came after that time.
func (d *demo) renewedSince(began time.Time) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		accounts := &v1alpha1.ConnectedAccountList{}
		err := d.accounts.List(ctx, accounts, client.InNamespace(stage.Namespace))
		return err == nil && !slices.ContainsFunc(accounts.Items, func(account v1alpha1.ConnectedAccount) bool {
			return account.Status.LastRefreshTime == nil || !account.Status.LastRefreshTime.After(began)
		}), err
	}
}

// keepRunning has the verdict spoken on what was written so far, lets everything go on, and ends it when the user does.
func (d *demo) keepRunning(ctx context.Context) int {
	if err := d.stage.Provider.FlushLedger(ctx); err != nil {
		return d.fail(err)
	}
	reasons, last, code := d.verdict(ctx)
	d.screen.print(reasons + last + "\n\n")
	if err := d.goOn(ctx); err != nil && ctx.Err() == nil {
		return d.fail(err)
	}
	// What the user tried may have failed calls, and a workload that had one says so in its exit code. The verdict was
	// spoken before that, and counts.
	_ = d.stage.Stop()
	if err := d.stage.Remove(); err != nil {
		d.screen.print(fmt.Sprintf("demo: could not remove %s: %v\n", d.stage.Dir, err))
		return 1
	}
	d.screen.print("\ndemo: everything is stopped and removed\n")
	return code
}

// goOn starts again what was stopped for the verdict, and returns when the user has had enough or a program has ended.
func (d *demo) goOn(ctx context.Context) error {
	var err error
	if d.operator, err = d.startOperator(ctx); err != nil {
		return err
	}
	if err := d.startActors(ctx); err != nil {
		return err
	}
	// The lease of the one that was killed has to end first, and tokens end sooner.
	d.screen.sayf("waiting until the lease of the operator that was killed has ended, and each token is renewed")
	if err := d.await(ctx, "each token to be renewed", 2*bound, d.renewedSince(time.Now())); err != nil {
		return err
	}
	d.screen.print(d.whatToTry())
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := d.ended(); err != nil {
				return err
			}
		}
	}
}

func (d *demo) whatToTry() string {
	return fmt.Sprintf(`
Operator and workloads run again. In another terminal:

  export KUBECONFIG=%[1]s
  export PATH=%[2]s:%[9]s/bin:$PATH

  kubectl oauth status -n %[3]s --watch
  kubectl oauth doctor -n %[3]s
  kubectl oauth doctor -n %[3]s --kubeconfig %[10]s
  kubectl oauth refresh -n %[3]s smartbusiness-invoices
  kubectl oauth token -n %[3]s smartbills-acme | curl --cacert %[4]s -H @- %[6]s
  kubectl -n %[3]s patch connectedaccount smartbills-connected --type=merge --patch='{"spec":{"consent":{"link":"Always"}}}'
  kubectl oauth authorize -n %[3]s smartbills-connected
  kubectl -n %[3]s get connectedaccounts --watch
  kubectl -n %[3]s get secret smartbills-acme -o yaml
  kubectl -n %[3]s delete secret smartbusiness-invoices
  kubectl -n %[3]s get events --sort-by=.lastTimestamp
  curl --cacert %[4]s -H @%[5]s/headers %[6]s
  tail -f %[7]s | grep token_request

Logs of all programs are in %[8]s.
Ctrl-C ends everything and removes that folder.
`, d.developer, filepath.Dir(d.stage.Cluster.Kubectl), stage.Namespace, d.stage.Provider.CAFile, d.mount("smartbills-acme"),
		d.stage.Provider.URL+pathOfAccount(stage.ConnectedAccountID), d.stage.Provider.Ledger, d.stage.Dir,
		d.stage.Root, filepath.Join(d.stage.Cluster.Dir, "admin.kubeconfig"))
}
