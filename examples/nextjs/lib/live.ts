import { EventSource } from 'eventsource';
import type { JobStatus } from './jobs';
import type { Session } from './session';

export type Change = { id: string; status: JobStatus; progress: number };

export type Listener = {
  /** A job was created or changed. */
  changed(change: Change): void;
  /** Changes are heard from now on. Those before may have been missed: read the list again. */
  connected(): void;
};

/** Hear of the session's jobs, whatever happens to the connection, until the returned function is called. */
export function listen(session: Session, local: boolean, listener: Listener): () => void {
  return local ? listenToEvents(session, listener) : listenToRealtime(session, listener);
}

/** Supabase Realtime: the database broadcasts to a channel that only this user may join. */
function listenToRealtime({ supabase, userId }: Session, listener: Listener): () => void {
  const channel = supabase
    .channel(`videojobs:user:${userId}`, { config: { private: true } })
    .on('broadcast', { event: '*' }, ({ payload }) => listener.changed(payload as Change))
    .subscribe((status) => {
      if (status === 'SUBSCRIBED') listener.connected(); // after a lost connection, too
    });
  return () => void supabase.removeChannel(channel);
}

const RETRY_MS = 3000;

/** The Python API's server-sent events. A lost connection goes on at the last event's id. */
function listenToEvents({ accessToken }: Session, listener: Listener): () => void {
  let source: EventSource;
  let retry: ReturnType<typeof setTimeout> | undefined;

  function open() {
    source = new EventSource('/live', {
      // The browser's own EventSource cannot send a token.
      fetch: async (url, init) =>
        fetch(url, {
          ...init,
          headers: { ...init.headers, Authorization: `Bearer ${await accessToken()}` },
        }),
    });
    source.onopen = () => listener.connected();
    source.addEventListener('job', ({ data }) => listener.changed(JSON.parse(data)));
    source.onerror = () => {
      // It tries again by itself, but for answers such as 502: those end it.
      if (source.readyState === source.CLOSED) retry = setTimeout(open, RETRY_MS);
    };
  }

  open();
  return () => {
    clearTimeout(retry);
    source.close();
  };
}
