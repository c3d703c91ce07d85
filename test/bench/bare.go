package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// bareItem is what a bare loop works on: an account and a Secret as large as real ones, and a refresh token.
type bareItem struct {
	account *v1alpha1.ConnectedAccount
	secret  *corev1.Secret
	token   string
}

// bareLoops find out what the machine, the API server and the provider give at best: the same token requests and the same
// writes, as the operator's own user, with nothing around them: no cache, no sealing, no journal, no reads. The operator does
// not run meanwhile.
func (b *bench) bareLoops(ctx context.Context) error {
	count := max(b.settings.rate, b.settings.single)
	items, err := b.makeBare(ctx, count)
	if err != nil {
		return err
	}
	post := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * workers}}
	defer post.CloseIdleConnections()
	for _, loop := range []struct {
		writes, count int
		when          bool
	}{{2, b.settings.rate, b.settings.wants("M1")}, {3, b.settings.single, b.settings.wants("M1s")}} {
		if !loop.when {
			continue
		}
		began := time.Now()
		err := each(ctx, loop.count, func(ctx context.Context, i int) error { return b.bareRefresh(ctx, post, items[i], loop.writes == 3) })
		if err != nil {
			return err
		}
		took := time.Since(began)
		b.bare[loop.writes] = float64(loop.count) / took.Seconds()
		b.sayf("%d bare refreshes with %d writes in %.1f s: %.0f in a second", loop.count, loop.writes, took.Seconds(), b.bare[loop.writes])
	}
	return b.removeBare(ctx)
}

// makeBare makes the items, after the first account at rest and its Secret.
func (b *bench) makeBare(ctx context.Context, count int) ([]*bareItem, error) {
	account, token := &v1alpha1.ConnectedAccount{}, &corev1.Secret{}
	key := client.ObjectKey{Namespace: fleetRest, Name: numbered(0)}
	if err := b.admin.Get(ctx, key, account); err != nil {
		return nil, err
	}
	if err := b.admin.Get(ctx, key, token); err != nil {
		return nil, err
	}
	if err := b.makeNamespace(ctx, fleetBare); err != nil {
		return nil, err
	}
	bare := b.fleets[fleetBareSingle]
	items := make([]*bareItem, count)
	return items, each(ctx, count, func(ctx context.Context, i int) error {
		grant, err := b.provider.Grant(bare.name, numbered(i))
		if err != nil {
			return err
		}
		item := &bareItem{
			account: &v1alpha1.ConnectedAccount{ObjectMeta: metav1.ObjectMeta{Namespace: fleetBare, Name: numbered(i)}, Spec: account.Spec},
			secret: &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: fleetBare, Name: numbered(i), Annotations: token.Annotations},
				Type:       token.Type, Data: token.Data,
			},
			token: grant.RefreshToken,
		}
		item.account.Spec.Suspend = true
		items[i] = item
		if err := b.admin.Create(ctx, item.account); err != nil {
			return err
		}
		item.account.Status = *account.Status.DeepCopy()
		if err := b.asOperator.Status().Update(ctx, item.account); err != nil {
			return err
		}
		// The operator may write no other Secrets than an account's.
		item.secret.Labels = map[string]string{v1alpha1.LabelAccount: string(item.account.UID)}
		for key, value := range token.Labels {
			if key != v1alpha1.LabelAccount {
				item.secret.Labels[key] = value
			}
		}
		owner := token.OwnerReferences[0]
		owner.Name, owner.UID = item.account.Name, item.account.UID
		item.secret.OwnerReferences = []metav1.OwnerReference{owner}
		return b.asOperator.Create(ctx, item.secret)
	})
}

func (b *bench) removeBare(ctx context.Context) error {
	for _, kind := range []client.Object{&v1alpha1.ConnectedAccount{}, &corev1.Secret{}} {
		if err := b.admin.DeleteAllOf(ctx, kind, client.InNamespace(fleetBare)); err != nil {
			return err
		}
	}
	return nil
}

// bareRefresh is one token request and its writes.
func (b *bench) bareRefresh(ctx context.Context, post *http.Client, item *bareItem, singleUse bool) error {
	of, form := b.fleets[fleetBare], url.Values{"grant_type": {provider.GrantClientCredentials}}
	status := &item.account.Status
	if singleUse {
		of, form = b.fleets[fleetBareSingle], url.Values{"grant_type": {provider.GrantRefreshToken}, "refresh_token": {item.token}}
		now := metav1.Now()
		status.ClaimSequence++
		status.Claim = v1alpha1.Claim{
			ID: string(uuid.NewUUID()), Sequence: status.ClaimSequence, Attempt: 1, Fingerprint: rand.String(32),
			Host: hostOf(b.provider.URL()), StartTime: &now, DurationSeconds: 105,
			Holder: v1alpha1.ClaimHolder{Journal: string(uuid.NewUUID()), Process: string(uuid.NewUUID())},
		}
		if err := b.asOperator.Status().Update(ctx, item.account); err != nil {
			return err
		}
		status.Claim = v1alpha1.Claim{}
	}
	registration := of.registration()
	form.Set("client_id", registration.ClientID)
	form.Set("client_secret", registration.ClientSecret)
	answer, err := request(ctx, post, b.provider.URL()+tokenPath, form)
	if err != nil {
		return err
	}
	if answer.RefreshToken != "" {
		item.token = answer.RefreshToken
	}
	status.Rotations++
	sealed := status.SealedCredential
	half := len(sealed) / 2
	status.SealedCredential = sealed[:half] + rand.String(len(sealed)-half)
	now := metav1.Now()
	status.LastRefreshTime, status.ExpirationTime = &now, &metav1.Time{Time: now.Add(12 * time.Hour)}
	if err := b.asOperator.Status().Update(ctx, item.account); err != nil {
		return err
	}
	item.secret.Data["access_token"] = []byte(answer.AccessToken)
	item.secret.Data["expires_at"] = []byte(status.ExpirationTime.UTC().Format(time.RFC3339))
	return b.asOperator.Update(ctx, item.secret)
}

type tokenAnswer struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
}

func request(ctx context.Context, post *http.Client, endpoint string, form url.Values) (tokenAnswer, error) {
	var answer tokenAnswer
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return answer, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := post.Do(request)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer, err
	}
	if response.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("the provider answers %s: %s", response.Status, body)
	}
	err = json.Unmarshal(body, &answer)
	return answer, err
}
