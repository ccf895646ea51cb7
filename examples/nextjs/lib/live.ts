import { EventSource } from 'eventsource';
import type { JobStatus, VideoJob } from './jobs';
import type { Session } from './session';

export type Change = { id: string; status: JobStatus; progress: number };

export type Listener = {
  /** A job was created or changed. */
  changed(change: Change): void;
  /** Read the list again: changes are heard from now on, but some before may have been missed. */
  missed(): void;
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
      if (status === 'SUBSCRIBED') listener.missed(); // after a lost connection, too
    });
  return () => void supabase.removeChannel(channel);
}

const RETRY_MS = 3000;

/**
 * The Python API's server-sent events. After a lost connection they go on at the last event's id;
 * the API sends a `reset` at the beginning, and when too much was missed.
 */
function listenToEvents({ accessToken }: Session, listener: Listener): () => void {
  let source: EventSource | undefined;
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
    source.addEventListener('changed', ({ data }) => {
      const { job } = JSON.parse(data) as { job: VideoJob };
      listener.changed({ id: job.id, status: job.status, progress: job.progress });
    });
    source.addEventListener('deleted', () => listener.missed());
    source.addEventListener('reset', () => listener.missed());
    source.onerror = () => {
      // It connects again by itself, but not after an answer such as 502.
      if (source?.readyState === EventSource.CLOSED) retry = setTimeout(open, RETRY_MS);
    };
  }

  open();
  return () => {
    clearTimeout(retry);
    source?.close();
  };
}
