package seal_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// goldenReceiptFolder holds the vectors of receipts. What is said of goldenFolder holds for it.
const goldenReceiptFolder = "testdata/v1/receipts"

// receiptVector is a keyring, a sealed receipt, and what must come of it.
type receiptVector struct {
	Comment string            `json:"comment"`
	Keyring map[string]string `json:"keyring"`
	Subject seal.Subject      `json:"subject"`
	Sealed  string            `json:"sealed"`
	KeyID   string            `json:"keyID"`
	Receipt goldenReceipt     `json:"receipt"`
	Refused []goldenRefusal   `json:"refused"`
}

// goldenReceipt is a receipt that is legible.
type goldenReceipt struct {
	ClaimID                string           `json:"claimID"`
	Attempt                int32            `json:"attempt"`
	Spent                  string           `json:"spent"`
	Template               goldenCredential `json:"template"`
	DefaultLifetimeSeconds int64            `json:"defaultLifetimeSeconds"`
	Reply                  []byte           `json:"reply"`
}

func (g goldenReceipt) receipt() seal.Receipt {
	return seal.Receipt{
		ClaimID: g.ClaimID, Attempt: g.Attempt, Spent: g.Spent, Template: g.Template.credential(),
		DefaultLifetime: time.Duration(g.DefaultLifetimeSeconds) * time.Second, Reply: g.Reply,
	}
}

func TestGoldenReceiptsOpenForEver(t *testing.T) {
	t.Parallel()
	if *updateGolden {
		writeGoldenReceipts(t)
	}
	names, err := fs.Glob(os.DirFS(goldenReceiptFolder), "*.json")
	if err != nil {
		t.Fatal(err)
	}
	for name := range goldenReceipts() {
		if !slices.Contains(names, name+".json") {
			t.Errorf("the vector %s is gone", name)
		}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkReceiptVector(t, readReceiptVector(t, name))
		})
	}
}

func readReceiptVector(tb testing.TB, name string) (golden receiptVector) {
	tb.Helper()
	text, err := fs.ReadFile(os.DirFS(goldenReceiptFolder), name)
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(text, &golden); err != nil { //nolint:musttag // seal.Subject goes by its own names, which are settled
		tb.Fatal(err)
	}
	return golden
}

func checkReceiptVector(t *testing.T, golden receiptVector) {
	t.Helper()
	keyring := parseKeyring(t, bytesOf(golden.Keyring))
	opened, err := keyring.OpenReceipt(golden.Subject, golden.Sealed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(receiptFields(golden.Receipt.receipt()), receiptFields(opened), revealed()); diff != "" {
		t.Error(diff)
	}
	if id, err := seal.KeyID(golden.Sealed); err != nil || id != golden.KeyID || !keyring.Contains(id) {
		t.Errorf("key id %s: %v", id, err)
	}
	if _, err := keyring.Open(seal.PurposeJournal, golden.Subject, golden.Sealed); !errors.Is(err, seal.ErrMalformed) {
		t.Errorf("it opens as a credential: %v", err)
	}
	if len(golden.Refused) < 10 {
		t.Error("the vector tests less than it should")
	}
	for _, r := range golden.Refused {
		want, named := sentinels()[r.Error]
		if _, err := keyring.OpenReceipt(r.Subject, r.Sealed); !named || !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %s", r.Case, err, r.Error)
		}
	}
}

// goldenReceipts are what the vectors were made from, once.
func goldenReceipts() map[string]receiptVector {
	full := goldenReceipt{
		ClaimID: "5c0b1d2e-0000-4000-8000-00000000c1a1", Attempt: 2, Spent: strings.Repeat("a2", 26),
		Template: goldenOf(fullCredential()), DefaultLifetimeSeconds: 3600, Reply: []byte(plantedReply),
	}
	full.Template.Imports = []string{strings.Repeat("b3", 26)}
	odd := full
	odd.Reply = everyByte()
	small := goldenReceipt{
		ClaimID: "c", Attempt: 1, Reply: []byte("r"),
		Template: goldenCredential{ClientID: "c", Lineage: "l", GrantSequence: 1, Rotation: 1, ClaimSequence: 1},
	}
	return map[string]receiptVector{
		"full":  {Comment: "every field set", Receipt: full},
		"odd":   {Comment: "a reply of every byte", Receipt: odd},
		"small": {Comment: "nothing spent, no default lifetime, a template without tokens", Receipt: small},
	}
}

func writeGoldenReceipts(t *testing.T) {
	t.Helper()
	folder, err := os.OpenRoot(goldenReceiptFolder)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = folder.Close() }()
	for name, golden := range goldenReceipts() {
		keyring := newKeyring(t)
		golden.Subject, golden.KeyID = acme(), keyring.ID()
		golden.Sealed = mustSealReceipt(t, keyring, golden.Subject, golden.Receipt.receipt())
		golden.Keyring = map[string]string{}
		for entry, text := range keyring.Data() {
			golden.Keyring[entry] = string(text)
		}
		same := vector{Purpose: seal.PurposeJournal, Subject: golden.Subject, Sealed: golden.Sealed, KeyID: golden.KeyID}
		for _, refusal := range goldenRefusals(t, same) {
			if refusal.Purpose == seal.PurposeJournal { // a receipt is opened for no other
				golden.Refused = append(golden.Refused, refusal)
			}
		}
		text, err := json.MarshalIndent(golden, "", "  ") //nolint:musttag // seal.Subject goes by its own names, which are settled
		if err != nil {
			t.Fatal(err)
		}
		writeNewFile(t, folder, name+".json", append(text, '\n'))
	}
}
