'use server';

import { apiUrl } from '@/lib/settings';

export type Outcome = { jobId: string } | { problem: string };

/** Hands an upload to the Python API, as the user whose token it is; the API stores it and creates the job. */
export async function processVideo(accessToken: string, form: FormData): Promise<Outcome> {
  const url = apiUrl('/api/v1/process');
  const response = await fetch(url, {
    method: 'POST',
    headers: { Authorization: `Bearer ${accessToken}` },
    body: form,
  }).catch(() => null);
  if (!response) return { problem: `${url.origin} does not answer. Is \`videojobs serve\` running?` };

  const body = await response.json().catch(() => ({}));
  if (response.ok) return { jobId: body.id };
  return { problem: body.detail ?? body.title ?? `The API answered ${response.status}.` };
}
