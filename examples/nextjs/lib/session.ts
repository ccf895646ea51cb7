import { createClient, type SupabaseClient } from '@supabase/supabase-js';
import type { Database } from '@videojobs/database';
import type { Settings } from './settings';

export type Supabase = SupabaseClient<Database>;

/** Somebody who is signed in, and what they may use. */
export type Session = {
  userId: string;
  email?: string;
  supabase: Supabase;
  /** A token that is good now. Supabase Auth renews it when it is old. */
  accessToken(): Promise<string>;
  signOut(): void;
};

/** How people sign in: with Supabase Auth, or on the local stack with a token. */
export type Door = {
  /** Tells who is signed in, now and on every change; `null` for nobody. Returns how to stop. */
  watch(tell: (session: Session | null) => void): () => void;
  /** Rejects with a message for people. */
  signIn(form: FormData): Promise<void>;
};

export function openDoor(settings: Settings): Door {
  return settings.local ? tokenDoor(settings) : authDoor(settings);
}

function authDoor({ supabaseUrl, publishableKey }: Settings): Door {
  const supabase: Supabase = createClient<Database>(supabaseUrl, publishableKey);
  return {
    watch(tell) {
      const { data } = supabase.auth.onAuthStateChange((_event, session) => {
        tell(
          session && {
            userId: session.user.id,
            email: session.user.email,
            supabase,
            async accessToken() {
              const { data, error } = await supabase.auth.getSession();
              if (error || !data.session) throw new Error('You are signed out. Sign in again.');
              return data.session.access_token;
            },
            signOut: () => void supabase.auth.signOut(),
          },
        );
      });
      return () => data.subscription.unsubscribe();
    },
    async signIn(form) {
      const { error } = await supabase.auth.signInWithPassword({
        email: String(form.get('email')),
        password: String(form.get('password')),
      });
      if (error) throw error;
    },
  };
}

/** For development only: no Auth server, but a token that `videojobs local token` printed. */
function tokenDoor({ supabaseUrl, publishableKey }: Settings): Door {
  const key = 'videojobs-token';
  let tell: (session: Session | null) => void = () => {};

  function signOut() {
    sessionStorage.removeItem(key);
    tell(null);
  }

  function enter(token: string) {
    const { sub, exp } = readClaims(token);
    async function accessToken() {
      if (exp * 1000 > Date.now()) return token;
      signOut();
      throw new Error('Your token has expired. Print a new one.');
    }
    const supabase = createClient<Database>(supabaseUrl, publishableKey, { accessToken });
    tell({ userId: sub, supabase, accessToken, signOut });
  }

  return {
    watch(teller) {
      tell = teller;
      const token = sessionStorage.getItem(key);
      if (token) enter(token);
      else tell(null);
      return () => (tell = () => {});
    },
    async signIn(form) {
      const token = String(form.get('token')).trim();
      if (readClaims(token).exp * 1000 < Date.now()) {
        throw new Error('This token has expired. Print a new one.');
      }
      sessionStorage.setItem(key, token);
      enter(token);
    },
  };
}

/** What a token says. Its signature is checked by whoever it is shown to. */
function readClaims(token: string): { sub: string; exp: number } {
  try {
    const payload = token.split('.')[1]!.replaceAll('-', '+').replaceAll('_', '/');
    return JSON.parse(atob(payload));
  } catch {
    throw new Error('This is no token. `videojobs local token USER_ID` prints one.');
  }
}
