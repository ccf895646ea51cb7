/** Where everything is. Read on the server at each request, so one build serves any project. */
export type Settings = {
  supabaseUrl: string;
  publishableKey: string;
  /** Sign in by a token, and hear of changes from the Python API: there is no Auth, no Realtime. */
  local: boolean;
};

export function readSettings(): Settings {
  return {
    supabaseUrl: needed('SUPABASE_URL'),
    publishableKey: needed('SUPABASE_PUBLISHABLE_KEY'),
    local: process.env.VIDEOJOBS_LOCAL === '1',
  };
}

/** The Python API (`videojobs serve`). Only this app's server talks to it, so browsers need not reach it. */
export function apiUrl(path: string): URL {
  return new URL(path, needed('VIDEOJOBS_API_URL'));
}

function needed(name: string): string {
  const value = process.env[name] ?? process.env[`NEXT_PUBLIC_${name}`];
  if (!value) {
    throw new Error(
      `${name} is not set. Locally, paste the export lines of \`videojobs local up\` into this ` +
        'terminal; for a Supabase project, see README.md.',
    );
  }
  return value;
}
