package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// config is the file that says whom the server knows. It holds client secrets and passwords.
type config struct {
	Clients []clientConfig `json:"clients"`
	// Users are names and passwords of the people who can log in.
	Users map[string]string `json:"users"`
}

type clientConfig struct {
	ID string `json:"id"`
	// Secret may be sent in the header or in the body (RFC 6749 section 2.3.1). Without one the client is public.
	Secret       string   `json:"secret,omitempty"`
	RedirectURIs []string `json:"redirect_uris"`
	// Scopes are those that it may ask for. With offline_access among the granted ones there is a refresh token.
	Scopes []string `json:"scopes"`
	// AutoConsent: whoever is logged in has agreed before, and is not asked.
	AutoConsent bool `json:"auto_consent,omitempty"`
	// The lifetimes. Without them, those of the flags.
	AccessTokenLifetime  duration `json:"access_token_lifetime,omitempty"`
	RefreshTokenLifetime duration `json:"refresh_token_lifetime,omitempty"`
}

// duration is a time.Duration that is written as in 15s.
type duration time.Duration

// UnmarshalJSON is part of json.Unmarshaler.
func (d *duration) UnmarshalJSON(text []byte) error {
	var written string
	if err := json.Unmarshal(text, &written); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(written)
	if err != nil {
		return err
	}
	if parsed < time.Second {
		return fmt.Errorf("the lifetime %s is less than a second", written)
	}
	*d = duration(parsed)
	return nil
}

func readConfig(path string) (config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return config{}, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var read config
	if err := decoder.Decode(&read); err != nil {
		return config{}, fmt.Errorf("read %s: %w", path, err)
	}
	if len(read.Clients) == 0 || len(read.Users) == 0 {
		return config{}, errors.New("the configuration wants at least one of clients, and one of users")
	}
	seen := map[string]bool{}
	for _, each := range read.Clients {
		if each.ID == "" || len(each.RedirectURIs) == 0 || seen[each.ID] {
			return config{}, fmt.Errorf("the client %q has no id, no redirect URI, or stands twice", each.ID)
		}
		seen[each.ID] = true
	}
	return read, nil
}
