'use strict';

const form = document.getElementById('ask');
const prompt = document.getElementById('prompt');
const message = document.getElementById('message');
const gallery = document.getElementById('gallery');
const template = document.getElementById('card');
const cards = new Map();                                        // by the id of the video, the oldest first
let kept = Infinity;

const words = {
  waiting: video => `waiting, ${video.ahead} ahead`,
  running: video => video.steps ? `step ${video.step} of ${video.steps}` : 'starting',
  done: video => `${video.seconds} s, seed ${video.seed}`,
  failed: video => video.error,
  cancelled: () => 'cancelled',
};

function show(video) {
  let card = cards.get(video.id);
  if (!card) {
    card = template.content.firstElementChild.cloneNode(true);
    card.querySelector('.prompt').textContent = video.prompt;
    card.querySelector('.cancel').onclick = event => {
      event.target.disabled = true;
      fetch(`videos/${video.id}`, { method: 'DELETE' });
    };
    cards.set(video.id, card);
    gallery.prepend(card);
  }
  const ended = ['done', 'failed', 'cancelled'].includes(video.status);
  card.dataset.status = video.status;
  card.querySelector('.status span').textContent = words[video.status](video);
  card.querySelector('.cancel').hidden = ended;
  const bar = card.querySelector('progress');
  bar.hidden = ended;
  bar.max = video.steps || 1;
  bar.value = video.step;
  look(card.querySelector('.screen'), video, ended);
  if (ended)
    forget();
}

function look(screen, video, ended) {
  const source = video.status === 'done' ? `videos/${video.id}/video.mp4` : video.preview ? `videos/${video.id}/preview.png?step=${video.preview}` : '';
  if (!source)
    screen.textContent = ended ? 'no video' : '';
  if (!source || screen.dataset.source === source)
    return;
  screen.dataset.source = source;
  const picture = document.createElement(video.status === 'done' ? 'video' : 'img');
  if (video.status === 'done') {
    Object.assign(picture, { autoplay: true, loop: true, muted: true, playsInline: true, tabIndex: 0 });
    picture.onpointerenter = picture.onfocus = () => picture.controls = true;      // until then they would hide a small video
  } else
    picture.alt = 'What there is of the video so far';
  picture.src = source;
  screen.replaceChildren(picture);
}

// As the server does.
function forget() {
  const ended = [...cards].filter(([, card]) => ['done', 'failed', 'cancelled'].includes(card.dataset.status));
  for (const [id, card] of ended.slice(0, Math.max(0, ended.length - kept))) {
    card.remove();
    cards.delete(id);
  }
}

form.onsubmit = async event => {
  event.preventDefault();
  const button = form.querySelector('button');
  button.disabled = true;
  try {
    const answer = await fetch('videos', {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ prompt: prompt.value }),
    });
    if (answer.ok) {
      message.textContent = '';
      prompt.select();
      return;
    }
    const problem = await answer.json();
    const after = answer.headers.get('Retry-After');
    message.textContent = Object.values(problem.errors ?? {}).flat().join(' ') || `${problem.detail ?? problem.title}${after ? ` (in about ${after} s)` : ''}`;
  } catch {
    message.textContent = 'The server does not answer.';
  } finally {
    button.disabled = false;
  }
};

fetch('limits').then(answer => answer.json()).then(limits => {
  prompt.maxLength = limits.longestPrompt;
  kept = limits.jobsKept;
});

const events = new EventSource('events');                       // the states of all videos, then what changes
events.onopen = () => {
  cards.clear();
  gallery.replaceChildren();
};
events.onmessage = event => show(JSON.parse(event.data));
