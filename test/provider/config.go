package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"sigs.k8s.io/yaml"
)

// registrationFile is a Registration as a configuration file writes it.
type registrationFile struct {
	Contract            Contract  `json:"contract"`
	ClientID            string    `json:"client_id"`
	ClientSecret        string    `json:"client_secret"`
	Scopes              []string  `json:"scopes"`
	RedirectURIs        []string  `json:"redirect_uris"`
	AccessTokenLifetime duration  `json:"access_token_lifetime"`
	Accounts            []string  `json:"accounts"`
	Grants              []string  `json:"grants"`
	Reuse               reuseFile `json:"reuse"`
	PKCE                bool      `json:"pkce"`
	AllowBasic          bool      `json:"allow_basic"`
	NameUser            bool      `json:"name_user"`

	Parameters map[string][]string `json:"parameters"`
}

type reuseFile struct {
	Kind       ReuseKind `json:"kind"`
	Grace      duration  `json:"grace"`
	AfterGrace ReuseKind `json:"after_grace"`
}

// duration is written as Go writes durations, for example "90s".
type duration time.Duration

// UnmarshalText reads "1h30m".
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

// ParseRegistrations reads a configuration file, YAML or JSON: an object with the one field "registrations", a list.
// The fields of an item are those of Registration in snake_case, durations as "30s". A field that is not
// known is an error.
func ParseRegistrations(text []byte) ([]Registration, error) {
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	var file struct {
		Registrations []registrationFile `json:"registrations"`
	}
	if err := decodeStrictly(bytes.NewReader(asJSON), &file); err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	registrations := make([]Registration, 0, len(file.Registrations))
	for _, each := range file.Registrations {
		registrations = append(registrations, Registration{
			Contract:            each.Contract,
			ClientID:            each.ClientID,
			ClientSecret:        each.ClientSecret,
			Scopes:              each.Scopes,
			RedirectURIs:        each.RedirectURIs,
			AccessTokenLifetime: time.Duration(each.AccessTokenLifetime),
			Accounts:            each.Accounts,
			Grants:              each.Grants,
			Reuse: ReusePolicy{
				Kind:       each.Reuse.Kind,
				Grace:      time.Duration(each.Reuse.Grace),
				AfterGrace: each.Reuse.AfterGrace,
			},
			PKCE:       each.PKCE,
			AllowBasic: each.AllowBasic, NameUser: each.NameUser,
			Parameters: each.Parameters,
		})
	}
	return registrations, nil
}

// decodeStrictly reads one JSON value into target: no unknown field, nothing behind it.
func decodeStrictly(reader io.Reader, target any) error {
	decoder := json.NewDecoder(reader)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(target); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}
