'use client';

import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { type Door, openDoor, type Session } from '@/lib/session';
import type { Settings } from '@/lib/settings';
import { JobList } from './job-list';
import { SignIn } from './sign-in';
import { Upload } from './upload';

/** The whole page: the sign-in, or the upload and the jobs of whoever is signed in. */
export function App({ settings }: { settings: Settings }) {
  const [queries] = useState(() => new QueryClient());
  const [door, setDoor] = useState<Door>();
  const [session, setSession] = useState<Session | null>();

  useEffect(() => {
    const door = openDoor(settings); // in the browser only: there the session is kept
    setDoor(door);
    return door.watch((next) => {
      if (!next) queries.clear();
      // A renewed token is no new session.
      setSession((current) => (current && current.userId === next?.userId ? current : next));
    });
  }, [settings, queries]);

  if (!door || session === undefined) return <p aria-busy="true">Opening…</p>;
  return (
    <QueryClientProvider client={queries}>
      {session ? (
        <>
          <header className="bar">
            <h1>Video jobs</h1>
            <span className="quiet">{session.email ?? session.userId}</span>
            <button className="secondary outline" onClick={session.signOut}>
              Sign out
            </button>
          </header>
          <Upload session={session} />
          <JobList session={session} local={settings.local} />
        </>
      ) : (
        <SignIn door={door} local={settings.local} />
      )}
    </QueryClientProvider>
  );
}
