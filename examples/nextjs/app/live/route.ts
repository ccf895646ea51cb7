import { apiUrl } from '@/lib/settings';

/** Passes the Python API's server-sent events on, so that browsers need not reach the API itself. */
export async function GET(request: Request): Promise<Response> {
  const headers = new Headers({ Accept: 'text/event-stream' });
  for (const name of ['Authorization', 'Last-Event-ID']) {
    const value = request.headers.get(name);
    if (value) headers.set(name, value);
  }
  const events = await fetch(apiUrl('/api/v1/user/jobs/live'), {
    headers,
    cache: 'no-store',
    signal: request.signal, // a closed tab ends it
  }).catch(() => null);
  if (!events) return new Response('The Python API does not answer.', { status: 502 });
  return new Response(events.body, {
    status: events.status,
    headers: {
      'Content-Type': events.headers.get('Content-Type') ?? 'text/plain',
      'Cache-Control': 'no-store, no-transform', // compressed, events would wait for each other
    },
  });
}
